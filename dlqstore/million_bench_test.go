package dlqstore_test

import (
	"database/sql"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// oldAndFew makes the ten oldest of a million what else there is none of: their route has
// no delivered ones, nor their subject, nor their status; their cause has another status
// and their subject another route.
const oldAndFew = `UPDATE dead_letters SET route = 'route-7', state = 'delivered', status = 404, original_subject = 'orders.17.created',
	fingerprint = left(md5('1'), 16), reason = CASE WHEN stream_sequence % 2 = 0 THEN 'rejected' ELSE 'exhausted' END
	WHERE stream_sequence > 999990`

// BenchmarkMillion asks a table of 1,000,000 dead letters what the API asks, and reports
// the 95th percentile: first as migrations leave the table, then with the index for text.
func BenchmarkMillion(b *testing.B) {
	pg := testkit.PostgresServer(b) // an extension is of the whole database
	store := benchStore(b, pg.URL)
	testkit.FillDeadLetters(b, pg.URL, 1_000_000)
	db, err := sql.Open("pgx", pg.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	do := func(statement string) {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	do(oldAndFew)
	do(`VACUUM ANALYZE dead_letters`)
	for range 100 { // as the projector does while dead letters come
		if err := store.Project(b.Context(), dlqstore.Batch{}); err != nil {
			b.Fatal(err)
		}
	}
	do(`VACUUM ANALYZE dead_letter_counts`)

	day := noon.Add(-24 * time.Hour)
	for _, c := range []struct {
		name   string
		filter dlqstore.Filter
	}{
		{"all", dlqstore.Filter{}},
		{"state", dlqstore.Filter{State: dlqstore.Dead}},
		{"route and state", dlqstore.Filter{Route: "route-7", State: dlqstore.Dead}},
		{"rare route", dlqstore.Filter{Route: "rare", State: dlqstore.Dead}},
		{"reason", dlqstore.Filter{Reason: dlqstore.Rejected}},
		{"status", dlqstore.Filter{Status: 404}},
		{"cause", dlqstore.Filter{Fingerprint: "c4ca4238a0b92382"}},
		{"subject", dlqstore.Filter{Subject: "orders.17.created"}},
		{"subject wildcard", dlqstore.Filter{Subject: "orders.17.>"}},
		{"since a day", dlqstore.Filter{Since: day, State: dlqstore.Dead}},
		{"since a month", dlqstore.Filter{Since: day.Add(-30 * 24 * time.Hour)}},
		{"since a month, reason and state", dlqstore.Filter{Since: day.Add(-30 * 24 * time.Hour), Reason: dlqstore.Rejected, State: dlqstore.Dead}},
		{"none in common", dlqstore.Filter{Reason: dlqstore.Expired, State: dlqstore.Delivered}},
		{"few and old, reason and state", dlqstore.Filter{Reason: dlqstore.Rejected, State: dlqstore.Delivered}},
		{"few and old, route and state", dlqstore.Filter{Route: "route-7", State: dlqstore.Delivered}},
		{"few and old, route and reason", dlqstore.Filter{Route: "route-7", Reason: dlqstore.Exhausted}},
		{"few and old, status and state", dlqstore.Filter{Status: 404, State: dlqstore.Delivered}},
		{"few and old, cause and state", dlqstore.Filter{Fingerprint: "c4ca4238a0b92382", Route: "route-7", State: dlqstore.Delivered}},
		{"few and old, subject and route", dlqstore.Filter{Subject: "orders.17.created", Route: "route-7"}},
		{"few and old, subject and state", dlqstore.Filter{Subject: "orders.17.*", State: dlqstore.Delivered}},
		{"few and old, wide subject and two", dlqstore.Filter{Subject: "orders.>", Route: "route-7", State: dlqstore.Delivered}},
		{"few and old, attempts and two", dlqstore.Filter{MinAttempts: 8, Route: "route-7", State: dlqstore.Delivered}},
		{"few and old, text and two", dlqstore.Filter{Query: "customer-99999", Route: "route-7", State: dlqstore.Delivered}},
		{"many attempts", dlqstore.Filter{MinAttempts: 9, State: dlqstore.Dead}},
		{"subject that is not there", dlqstore.Filter{Subject: "*.nowhere.*", State: dlqstore.Dead}},
	} {
		benchQueries(b, store, c.name, c.filter)
	}
	for name, f := range map[string]dlqstore.Filter{"all": {}, "reason": {Reason: dlqstore.Rejected}} {
		benchP95(b, "count/dry run of a replay, "+name, func() error { _, err := store.CountReplay(b.Context(), dlqstore.JobSpec{Filter: f}); return err })
		for _, to := range []dlqstore.State{dlqstore.Discarded, dlqstore.Dead} {
			change := dlqstore.Change{To: to, Filter: f}
			benchP95(b, "count/dry run to "+string(to)+", "+name, func() error { _, err := store.CountChange(b.Context(), change); return err })
		}
	}
	texts := []struct {
		name   string
		filter dlqstore.Filter
	}{
		{"text found", dlqstore.Filter{Query: "customer-77777"}},
		{"text not found", dlqstore.Filter{Query: "no such text"}},
		{"text in all", dlqstore.Filter{Query: "customer", State: dlqstore.Dead}},
		{"text and reason", dlqstore.Filter{Query: "customer-9999", Reason: dlqstore.Rejected, State: dlqstore.Dead}},
	}
	for _, c := range texts {
		benchQueries(b, store, c.name, c.filter)
	}
	docs, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		b.Fatal(err)
	}
	for _, statement := range textIndex {
		do(string(statement.Find(docs)))
	}
	for _, c := range texts {
		benchQueries(b, store, c.name+", indexed", c.filter)
	}
}

// textIndex finds in docs/operations.md how the index for text is made.
var textIndex = []*regexp.Regexp{
	regexp.MustCompile(`CREATE EXTENSION[^;]*pg_trgm`), regexp.MustCompile(`CREATE INDEX CONCURRENTLY dead_letters_text [^;]*`),
}

func benchQueries(b *testing.B, store dlqstore.Store, name string, f dlqstore.Filter) {
	for what, ask := range map[string]func() error{
		"list":   func() error { _, err := store.List(b.Context(), f, dlqstore.Page{}); return err },
		"count":  func() error { _, err := store.Count(b.Context(), f); return err },
		"groups": func() error { _, err := store.Groups(b.Context(), f, 0); return err },
	} {
		benchP95(b, what+"/"+name, ask)
	}
}

func benchP95(b *testing.B, name string, ask func() error) {
	b.Run(name, func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			if err := ask(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	})
}

package admin_test

import (
	"database/sql"
	"net/http"
	"slices"
	"testing"
	"time"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// BenchmarkPages asks for every page over 1,000,000 dead letters, and reports the 95th
// percentile.
func BenchmarkPages(b *testing.B) {
	now, err := time.Parse(time.RFC3339, testkit.FilledUntil)
	if err != nil {
		b.Fatal(err)
	}
	url := testkit.Postgres(b)
	s := startOn(b, url, func(o *admin.Options) { o.Now = func() time.Time { return now } })
	s.runtime.routes[0].Name = "route-7"
	testkit.FillDeadLetters(b, url, 1_000_000)
	for range 100 { // as the projector does while dead letters come
		s.project(dlqstore.Batch{})
	}
	vacuum(b, url)
	job, err := s.store.StartJob(b.Context(), dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "rare"}}, dlqstore.Actor{Name: "anna"})
	if err != nil {
		b.Fatal(err)
	}
	list, err := s.store.List(b.Context(), dlqstore.Filter{Route: "route-7", State: dlqstore.Dead}, dlqstore.Page{})
	if err != nil {
		b.Fatal(err)
	}
	// Their ids are of another form than relay's, which pages do not look up.
	one := s.add(dead(0, nil))[0]
	for _, page := range []struct{ name, path string }{
		{"overview", "/"},
		{"route", "/routes/route-7"},
		{"list", "/dead-letters"},
		{"list, all states", "/dead-letters?state=all"},
		{"list, older", "/dead-letters?route=route-7&until=" + list.DeadLetters[49].FailedAt.Format(time.RFC3339)},
		{"list, route and reason", "/dead-letters?route=route-7&reason=rejected"},
		{"list, subject", "/dead-letters?subject=orders.17.>"},
		{"list, status", "/dead-letters?status=404&state=all"},
		{"list, text that is there", "/dead-letters?q=customer-77777"},
		{"list, text that is not", "/dead-letters?q=nowhere"},
		{"dead letter", "/dead-letters/" + one},
		{"dead letter of a list", "/dead-letters/" + one + "?list=route%3Droute-7"},
		{"replay many", "/replays/new?route=route-7&reason=rejected"},
		{"replays", "/replays"},
		{"replay job", "/replays/" + job.ID},
		{"audit", "/audit"},
	} {
		b.Run(page.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if got := s.get(page.path); got.status != http.StatusOK {
					b.Fatalf("%s: %d %s", page.path, got.status, got.body)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		})
	}
}

// vacuum does what autovacuum does within a minute.
func vacuum(b *testing.B, url string) {
	b.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(b.Context(), `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
}

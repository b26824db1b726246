package dlqstore_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// BenchmarkMillion asks a table of 1,000,000 dead letters what the API asks, and reports
// the 95th percentile.
func BenchmarkMillion(b *testing.B) {
	url := testkit.Postgres(b)
	store := benchStore(b, url)
	fillMillion(b, url)
	for range 100 { // as the projector does while dead letters come
		if err := store.Project(b.Context(), dlqstore.Batch{}); err != nil {
			b.Fatal(err)
		}
	}
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
		{"subject", dlqstore.Filter{Subject: "orders.17.created"}},
		{"subject wildcard", dlqstore.Filter{Subject: "orders.17.>"}},
		{"since a day", dlqstore.Filter{Since: day, State: dlqstore.Dead}},
		{"since a month", dlqstore.Filter{Since: day.Add(-30 * 24 * time.Hour)}},
		{"two that exclude each other", dlqstore.Filter{Reason: dlqstore.Rejected, State: dlqstore.Delivered}},
		{"text found", dlqstore.Filter{Query: "customer-77777"}},
		{"text not found", dlqstore.Filter{Query: "no such text"}},
	} {
		b.Run("list/"+c.name, func(b *testing.B) {
			report(b, func() error {
				_, err := store.List(b.Context(), c.filter, dlqstore.Page{})
				return err
			})
		})
		b.Run("count/"+c.name, func(b *testing.B) {
			report(b, func() error {
				_, err := store.Count(b.Context(), c.filter)
				return err
			})
		})
		b.Run("groups/"+c.name, func(b *testing.B) {
			report(b, func() error {
				_, err := store.Groups(b.Context(), c.filter, 0)
				return err
			})
		})
	}
}

func report(b *testing.B, ask func() error) {
	b.Helper()
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
}

// fillMillion makes the rows inside the database.
func fillMillion(b *testing.B, url string) {
	b.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`INSERT INTO dead_letters (id, route, state, reason, original_subject, payload, headers, error, status, retry_count,
			consumer_name, stream, stream_sequence, published_at, failed_at, changed_at, family, replay_count, died_in,
			error_class, cause, fingerprint)
		SELECT 'msg_' || md5(n::text), CASE WHEN n % 100000 = 0 THEN 'rare' ELSE 'route-' || n % 20 END,
			(ARRAY['dead', 'dead', 'dead', 'dead', 'dead', 'dead', 'delivered', 'discarded'])[1 + n % 8],
			(ARRAY['exhausted', 'exhausted', 'exhausted', 'rejected'])[1 + n % 4], 'orders.' || n % 100 || '.created',
			convert_to('{"customer": "customer-' || n || '", "items": "' || md5((n * 7)::text) || md5((n * 11)::text) || '"}', 'UTF8'),
			'{"Event-Type": ["order"]}', 'the receiver answered ' || 500 + n % 7, CASE WHEN n % 1000 = 0 THEN 404 ELSE 500 + n % 7 END,
			8, 'relay-orders', 'ORDERS', n, at, at + interval '1s', at, 'msg_' || md5(n::text), 0, 0, '5xx', 'the receiver answered ' || 500 + n % 7,
			left(md5((n % 7)::text), 16)
		FROM (SELECT n, '2026-03-01 12:00:00Z'::timestamptz - n * interval '7 seconds' AS at FROM generate_series(1, 1000000) AS n) AS g`,
		`VACUUM ANALYZE dead_letters`,
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
}

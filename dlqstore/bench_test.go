package dlqstore_test

import (
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// BenchmarkProject compares the projection of batches of 500 dead letters with 1 KiB of
// JSON with the bare insert of the same rows into the same table, in rows a second.
func BenchmarkProject(b *testing.B) {
	const size = 500
	b.Run("project", func(b *testing.B) {
		store := benchStore(b, testkit.Postgres(b))
		for i := 0; b.Loop(); i++ {
			var batch dlqstore.Batch
			for n := range size {
				batch.DeadLetters = append(batch.DeadLetters, benchLetter(i*size+n))
			}
			if err := store.Project(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("bare", func(b *testing.B) {
		url := testkit.Postgres(b)
		benchStore(b, url)
		db, err := sql.Open("pgx", url)
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		const insert = `INSERT INTO dead_letters (id, route, state, reason, original_subject, payload, headers, error, status,
				retry_count, consumer_name, stream, stream_sequence, published_at, failed_at, family, replay_count, died_in,
				changed_at)
			SELECT id, 'orders', 'dead', 'exhausted', 'orders.created', payload, '{"Event-Type": ["order"], "X": ["1", "2"]}',
				'503 Service Unavailable', 503, 8, 'relay-orders', 'ORDERS', 1, failed_at - interval '1 hour', failed_at, id, 0, 0, failed_at
			FROM unnest($1::text[], $2::bytea[], $3::timestamptz[]) AS r (id, payload, failed_at)`
		for i := 0; b.Loop(); i++ {
			var ids []string
			var payloads [][]byte
			var failed []time.Time
			for n := range size {
				r := benchLetter(i*size + n)
				ids, payloads, failed = append(ids, r.ID), append(payloads, r.Payload), append(failed, r.FailedAt)
			}
			if _, err := db.ExecContext(b.Context(), insert, ids, payloads, failed); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

func benchStore(b *testing.B, url string) dlqstore.Store {
	b.Helper()
	store, err := dlqstore.Open(b.Context(), url, dlqstore.OpenOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(store.Close)
	if err := store.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	return store
}

func benchLetter(n int) dlqstore.Record {
	r := letter(n)
	items := make([]map[string]any, 16)
	for i := range items {
		items[i] = map[string]any{"sku": r.ID, "count": i * n}
	}
	r.Payload, _ = json.Marshal(items)
	return r
}

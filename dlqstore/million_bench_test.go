package dlqstore_test

import (
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
	testkit.FillDeadLetters(b, url, 1_000_000)
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

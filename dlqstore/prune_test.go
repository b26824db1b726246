package dlqstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

func testPrune(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	const day = 24 * time.Hour
	now := noon.Add(100 * day)
	var list []dlqstore.Record
	for n, failed := range []int{95, 95, 85, 95, 95, 20, 85} { // days ago
		r := letter(n)
		r.FailedAt = now.AddDate(0, 0, -failed)
		if r.Route = "orders"; n == 1 {
			r.Route = "kept for long"
		}
		if n == 6 {
			r.Route = "kept for short"
		}
		list = append(list, r)
		project(t, s, r, attempt(r, 0, 1, "nak"))
	}
	got := letter(50) // got through after an attempt that failed
	project(t, s, attempt(got, 0, 1, "nak"))
	_, err := s.StartReplay(t.Context(), list[3].ID, nil, alice)
	check(t, err)
	for _, n := range []int{4, 5} {
		check(t, s.Discard(t.Context(), list[n].ID, "", alice))
	}
	_, err = raw.Exec(`UPDATE dead_letters SET changed_at = failed_at WHERE state = 'discarded'`)
	check(t, err)
	job := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{IDs: []string{}}})
	project(t, s, attempt(letter(51), 0, 1, "nak"))
	_, err = raw.Exec(`UPDATE dead_letter_attempts SET at = '` + now.Add(-day).Format("2006-01-02T15:04:05.000000Z") + `' WHERE id = '` + letter(51).ID + `'`)
	check(t, err)

	n, err := s.Prune(t.Context(), dlqstore.Retention{Default: 90 * day, Routes: map[string]time.Duration{"kept for long": 100 * day, "kept for short": day}}, now)
	check(t, err)
	var left []int
	for i, r := range list {
		if _, err := s.Get(t.Context(), r.ID); err == nil {
			left = append(left, i)
		}
	}
	// 0 is too old, 6 too old for its route, 4 was discarded long ago.
	want(t, "left", left, "[1 2 3 5]")
	want(t, "attempts left", count(t, raw, `SELECT count(*) FROM dead_letter_attempts`), 5)
	want(t, "rows pruned", n, 4)
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'prune' AND actor = 'relay'`), 3)
	_, err = s.Job(t.Context(), job.ID)
	check(t, err)
	n, err = s.Prune(t.Context(), dlqstore.Retention{}, time.Now().Add(31*day))
	check(t, err)
	_, err = s.Job(t.Context(), job.ID)
	want(t, "the job after 31 days", fmt.Sprint(n > 0, err), "true "+dlqstore.ErrNoJob.Error())
}

// TestPruner has more than one batch of old rows.
func TestPruner(t *testing.T) {
	testkit.Leaks(t)
	store := sqliteStore(t)
	letters(t, store, "orders", 0, 1100)
	recent := letter(5000)
	recent.FailedAt = time.Now()
	project(t, store, recent)
	p, err := dlqstore.NewPruner(dlqstore.PrunerOptions{
		Store:     store,
		Retention: func() dlqstore.Retention { return dlqstore.Retention{Default: time.Hour} },
	})
	check(t, err)
	start(t, p.Run)
	testkit.Eventually(t, func() bool { return counted(t, store) == 1 }, "the recent dead letter alone")
	_, err = store.Get(context.Background(), recent.ID)
	check(t, err)
}

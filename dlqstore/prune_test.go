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

// TestPruneLeavesWhatIsTaken starts to replay an old dead letter, and restores one that was
// discarded long ago, while a batch that has chosen both waits for their rows.
func TestPruneLeavesWhatIsTaken(t *testing.T) {
	url := testkit.Postgres(t)
	s := open(t, url)
	raw, err := sql.Open("pgx", url)
	check(t, err)
	t.Cleanup(func() { raw.Close() })
	replayed, restored := letter(1), letter(2)
	project(t, s, replayed, restored)
	check(t, s.Discard(t.Context(), restored.ID, "", alice))
	tx, err := raw.Begin()
	check(t, err)
	for id, state := range map[string]string{replayed.ID: "replaying", restored.ID: "dead"} {
		_, err = tx.Exec(`UPDATE dead_letters SET state = $2, failed_at = now() + interval '99 days', changed_at = now() + interval '99 days' WHERE id = $1`, id, state)
		check(t, err)
	}
	pruned := make(chan error, 1)
	go func() {
		_, err := s.Prune(context.Background(), dlqstore.Retention{Default: time.Hour}, time.Now().Add(60*24*time.Hour))
		pruned <- err
	}()
	testkit.Eventually(t, func() bool {
		return count(t, raw, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'
			AND query LIKE 'DELETE%'`) == 1
	}, "a batch that waits")
	check(t, tx.Commit())
	check(t, <-pruned)
	want(t, "replayed", get(t, s, replayed.ID).State, dlqstore.Replaying)
	want(t, "restored", get(t, s, restored.ID).State, dlqstore.Dead)
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

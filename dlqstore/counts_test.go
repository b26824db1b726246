package dlqstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"relay/dlqstore"
)

// everything is a filter that changes nothing but that each dead letter is looked at.
func everything(f dlqstore.Filter) dlqstore.Filter {
	f.Subject = ">"
	return f
}

// wantCounted compares what the counts say with what there is.
func wantCounted(t *testing.T, s dlqstore.Store, f dlqstore.Filter) {
	t.Helper()
	got, err := s.Groups(t.Context(), f, 0)
	check(t, err)
	wanted, err := s.Groups(t.Context(), everything(f), 0)
	check(t, err)
	want(t, fmt.Sprintf("groups of %+v", f), got, wanted)
	n, err := s.Count(t.Context(), f)
	check(t, err)
	counted, err := s.Count(t.Context(), everything(f))
	check(t, err)
	want(t, fmt.Sprintf("count of %+v", f), n, counted)
	page, err := s.List(t.Context(), f, dlqstore.Page{})
	check(t, err)
	listed, err := s.List(t.Context(), everything(f), dlqstore.Page{})
	check(t, err)
	want(t, fmt.Sprintf("list of %+v", f), page, listed)
	n, err = s.CountReplay(t.Context(), dlqstore.JobSpec{Filter: f, Limit: 100})
	check(t, err)
	counted, err = s.CountReplay(t.Context(), dlqstore.JobSpec{Filter: everything(f), Limit: 100})
	check(t, err)
	want(t, fmt.Sprintf("count to replay of %+v", f), n, counted)
}

// testCounts lets several projectors, operators, jobs and a pruner change the same dead
// letters at once, from some days and causes, until the counts were added up a few times.
func testCounts(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	const workers, rounds, perBatch = 4, 40, 8
	now := time.Now()
	random := rand.New(rand.NewPCG(1, 2)) // the same letters in every run
	list := make([]dlqstore.Record, workers*rounds*perBatch)
	for i := range list {
		r := letter(i)
		r.Route = []string{"orders", "billing"}[i%2]
		r.Status, r.Error = 500+i%3, fmt.Sprint("the receiver answered ", 500+i%3)
		r.Reason = []dlqstore.Reason{dlqstore.Exhausted, dlqstore.Rejected}[i/2%2]
		r.FailedAt = now.Add(-time.Duration(random.IntN(6*24*60)) * time.Minute)
		list[i] = r
	}
	_, err := s.StartJob(t.Context(), dlqstore.JobSpec{}, alice)
	check(t, err)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				mine := list[(w*rounds+i)*perBatch:][:perBatch]
				if err := shake(t.Context(), s, mine, i); err != nil {
					t.Errorf("worker %d, round %d: %v", w, i, err)
					return
				}
			}
		})
	}
	all.Wait()

	hour := now.Truncate(time.Hour)
	for _, f := range []dlqstore.Filter{
		{}, {State: dlqstore.Dead}, {State: dlqstore.Delivered}, {Route: "orders"}, {Route: "orders", State: dlqstore.Discarded},
		{Status: 501}, {Reason: dlqstore.Rejected, State: dlqstore.Dead}, {Route: "none"},
		{Reason: dlqstore.Rejected}, {Status: 502, State: dlqstore.Delivered}, {Route: "billing", Reason: dlqstore.Exhausted, Status: 500, State: dlqstore.Dead},
		{Since: now.Add(-24 * time.Hour)}, {Since: now.Add(-30 * time.Minute)}, {Since: now.Add(-4*24*time.Hour - time.Minute), State: dlqstore.Dead},
		{Until: now.Add(-24 * time.Hour)}, {Until: now.Add(-4 * 24 * time.Hour)}, {Since: hour, Until: hour.Add(time.Hour)},
		{Since: hour.Add(-90 * time.Minute), Until: hour.Add(-10 * time.Minute)}, {Since: hour.Add(-50 * time.Minute), Until: hour.Add(-10 * time.Minute)},
		{Since: now.Add(-5 * 24 * time.Hour), Until: now.Add(-26 * time.Hour), Route: "billing"},
		{Since: now.Truncate(24 * time.Hour), Until: now.Truncate(24 * time.Hour).Add(24 * time.Hour)}, {Since: now.Add(time.Hour)},
	} {
		wantCounted(t, s, f)
	}
	// Batches that bring nothing, until all was added up twice.
	for range 100 {
		project(t, s)
	}
	buckets := count(t, raw, `SELECT count(DISTINCT bucket) FROM dead_letter_counts WHERE bucket < '`+
		now.UTC().Add(-73*time.Hour).Format("2006-01-02T15:04:05.000000Z")+`'`)
	want(t, fmt.Sprintf("few buckets of days gone by: %d", buckets), buckets < 6, true)
	want(t, "rows of one kind", count(t, raw, `SELECT count(*) FROM dead_letter_counts`),
		count(t, raw, `SELECT count(*) FROM (SELECT 1 FROM dead_letter_counts GROUP BY bucket, route, fingerprint, status, reason, state) AS kinds`))
	wantCounted(t, s, dlqstore.Filter{})
	wantCounted(t, s, dlqstore.Filter{Since: now.Add(-5 * 24 * time.Hour), State: dlqstore.Dead})

	// By the hour, counted one by one.
	groups, err := s.Groups(t.Context(), dlqstore.Filter{State: dlqstore.Dead}, 0)
	check(t, err)
	hours, err := s.GroupHours(t.Context(), groups, dlqstore.Dead, now)
	check(t, err)
	wanted := make([][dlqstore.Hours]int, len(groups))
	for i, g := range groups {
		for h := range dlqstore.Hours {
			from := hour.Add(time.Duration(h-dlqstore.Hours+1) * time.Hour)
			wanted[i][h], err = s.Count(t.Context(), everything(dlqstore.Filter{
				Route: g.Route, Fingerprint: g.Fingerprint, State: dlqstore.Dead, Since: from, Until: from.Add(time.Hour)}))
			check(t, err)
		}
	}
	want(t, "by the hour", hours, wanted)
}

// shake takes some dead letters through their states. Others may come first.
func shake(ctx context.Context, s dlqstore.Store, mine []dlqstore.Record, round int) error {
	if err := s.Project(ctx, dlqstore.Batch{DeadLetters: mine}); err != nil {
		return err
	}
	late := func(err error) bool { // another replayed or pruned it
		var state *dlqstore.StateError
		return errors.As(err, &state) || errors.Is(err, dlqstore.ErrNotFound)
	}
	for _, err := range []error{
		s.Discard(ctx, mine[0].ID, "", alice), s.Restore(ctx, mine[0].ID, bob), s.Discard(ctx, mine[1].ID, "", alice),
	} {
		if err != nil && !late(err) {
			return err
		}
	}
	var results dlqstore.Batch
	for i, r := range mine[2:5] {
		replay, err := s.StartReplay(ctx, r.ID, nil, bob)
		switch {
		case late(err):
		case err != nil:
			return err
		case i == 0:
			results.Attempts = append(results.Attempts, dlqstore.Attempt{
				ID: r.ID, Route: r.Route, Number: 1, Replay: replay.Number, At: time.Now(), Verdict: "ack"})
		case i == 1:
			died := again(r, replay.Number)
			died.FailedAt = time.Now()
			results.DeadLetters = append(results.DeadLetters, died)
		}
	}
	if err := s.Project(ctx, results); err != nil {
		return err
	}
	if _, err := s.AdvanceJobs(ctx); err != nil {
		return err
	}
	if round%10 == 9 {
		_, err := s.Prune(ctx, dlqstore.Retention{Default: 5*24*time.Hour + time.Hour}, time.Now())
		return err
	}
	return nil
}

package dlqstore_test

import (
	"database/sql"
	"errors"
	"testing"

	"relay/dlqstore"
)

func testJobRate(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 40)
	job := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders"}, RatePerSecond: 0.0001})
	advance(t, s, job.ID)
	want(t, "at the first rate", advance(t, s, job.ID).InFlight, 1)

	for range 2 { // the second time it is that already
		changed, err := s.ChangeJobRate(t.Context(), job.ID, 1e9, bob)
		check(t, err)
		want(t, "the rate", changed.Spec.RatePerSecond, 1e9)
		want(t, "in flight goes on", figures(changed), "running queued=false: 1 of 40 in flight, 0 delivered, 0 failed, 0 skipped")
	}
	want(t, "at the other rate", advance(t, s, job.ID).InFlight, 40)
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'job_rate' AND actor = 'bob' AND route = 'orders'
		AND detail ->> 'job' = '`+job.ID+`'`), 1)

	_, err := s.ChangeJob(t.Context(), job.ID, dlqstore.JobPaused, bob)
	check(t, err)
	job, err = s.ChangeJobRate(t.Context(), job.ID, 50, bob)
	check(t, err)
	want(t, "a paused one stays that", job.State, dlqstore.JobPaused)
	_, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobRunning, bob)
	check(t, err)
	end(t, s, true, list...)
	want(t, "at the end", advance(t, s, job.ID).State, dlqstore.JobDone)
	_, err = s.ChangeJobRate(t.Context(), job.ID, 1, alice)
	state, ok := errors.AsType[*dlqstore.JobStateError](err)
	want(t, "refused when it is done", ok && state.State == dlqstore.JobDone, true)
	_, err = s.ChangeJobRate(t.Context(), "rpl_none", 1, alice)
	want(t, "error of an unknown job", errors.Is(err, dlqstore.ErrNoJob), true)
}

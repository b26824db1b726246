package dlqstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"relay/dlqstore"
)

// letters projects n dead letters from the number on and returns them.
func letters(t *testing.T, s dlqstore.Store, route string, from, n int) []dlqstore.Record {
	t.Helper()
	list := make([]dlqstore.Record, n)
	items := make([]any, n)
	for i := range n {
		list[i] = letter(from + i)
		list[i].Route = route
		items[i] = list[i]
	}
	project(t, s, items...)
	return list
}

func startJob(t *testing.T, s dlqstore.Store, spec dlqstore.JobSpec) dlqstore.Job {
	t.Helper()
	job, err := s.StartJob(t.Context(), spec, alice)
	check(t, err)
	return job
}

// advance lets jobs take their steps and returns the one of the id.
func advance(t *testing.T, s dlqstore.Store, id string) dlqstore.Job {
	t.Helper()
	_, err := s.AdvanceJobs(t.Context())
	check(t, err)
	job, err := s.Job(t.Context(), id)
	check(t, err)
	return job
}

func figures(j dlqstore.Job) string {
	return fmt.Sprintf("%s queued=%t: %d of %d in flight, %d delivered, %d failed, %d skipped", j.State, j.Queued, j.InFlight,
		j.Total, j.Delivered, j.Failed, j.Skipped)
}

// end brings replays that are under way to an end.
func end(t *testing.T, s dlqstore.Store, delivered bool, list ...dlqstore.Record) {
	t.Helper()
	for _, r := range list {
		if n := get(t, s, r.ID).ReplayCount; delivered {
			project(t, s, attempt(r, n, 1, "ack"))
		} else {
			project(t, s, again(r, n))
		}
	}
}

func testJob(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 12)
	letters(t, s, "other", 20, 3)
	spec := dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders", State: dlqstore.Delivered}, Limit: 10}
	n, err := s.CountReplay(t.Context(), spec)
	check(t, err)
	want(t, "count", n, 10)
	job := startJob(t, s, spec)
	want(t, "started", figures(job), "running queued=false: 0 of 10 in flight, 0 delivered, 0 failed, 0 skipped")
	want(t, "routes", job.Routes, "[orders]")

	// What comes after the snapshot is left alone; what was settled since is skipped.
	letters(t, s, "orders", 30, 1)
	check(t, s.Discard(t.Context(), list[3].ID, "", bob))
	_, err = s.StartReplay(t.Context(), list[5].ID, nil, bob)
	check(t, err)
	_, err = s.StartReplay(t.Context(), list[7].ID, &dlqstore.Edit{Payload: []byte("mended")}, bob)
	check(t, err)
	job = advance(t, s, job.ID)
	want(t, "under way", figures(job), "running queued=false: 7 of 10 in flight, 0 delivered, 0 failed, 3 skipped")
	want(t, "by", fmt.Sprint(get(t, s, list[0].ID).State, get(t, s, list[0].ID).ChangedBy), "replayingalice")
	pending, err := s.PendingReplays(t.Context(), 99)
	check(t, err)
	want(t, "in the outbox", len(pending), 9)

	end(t, s, true, list[0], list[1], list[2])
	job = advance(t, s, job.ID)
	want(t, "later", figures(job), "running queued=false: 4 of 10 in flight, 3 delivered, 0 failed, 3 skipped")
	want(t, "no ETA at once", job.ETA(time.Now().Add(-time.Hour)), time.Duration(0))
	want(t, "an ETA", job.ETA(time.Now().Add(time.Minute)) > 0, true)
	end(t, s, false, list[4], list[6], list[8], list[9])
	// One of them was tried once more by hand, which the job does not count.
	_, err = s.StartReplay(t.Context(), list[4].ID, nil, bob)
	check(t, err)
	job = advance(t, s, job.ID)
	want(t, "at the end", figures(job), "done queued=false: 0 of 10 in flight, 3 delivered, 4 failed, 3 skipped")
	want(t, "finished", job.FinishedAt.IsZero(), false)
	wait, err := s.AdvanceJobs(t.Context())
	check(t, err)
	want(t, "wait without a job", wait, time.Duration(0))

	want(t, "audited replays", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'replay' AND actor = 'alice'`), 7)
	want(t, "audited job", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'job_started' AND actor = 'alice'
		AND dead_letter_id IS NULL`), 1)
	want(t, "audited end", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'job_done' AND actor = 'relay'`), 1)

	empty := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{IDs: []string{}}})
	want(t, "a job without anything", figures(empty), "done queued=false: 0 of 0 in flight, 0 delivered, 0 failed, 0 skipped")
	_, err = s.Job(t.Context(), "rpl_none")
	want(t, "error of an unknown job", errors.Is(err, dlqstore.ErrNoJob), true)
	for _, id := range []string{"rpl_none", "rpl_\x00", "rpl_\xff"} {
		_, err = s.ChangeJob(t.Context(), id, dlqstore.JobPaused, bob)
		want(t, "error of a change of "+id, errors.Is(err, dlqstore.ErrNoJob), true)
		_, err = s.ChangeJobRate(t.Context(), id, 1, bob)
		want(t, "error of another rate of "+id, errors.Is(err, dlqstore.ErrNoJob), true)
	}
	jobs, err := s.Jobs(t.Context(), 1)
	check(t, err)
	want(t, "newest job", jobs[0].ID, empty.ID)
}

func testJobPace(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	slow := letters(t, s, "slow", 0, 3)
	list := letters(t, s, "ramp", 10, 30)
	job := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "slow"}, RatePerSecond: 0.0001})
	for range 2 {
		job = advance(t, s, job.ID)
		want(t, "at the rate", figures(job), "running queued=false: 1 of 3 in flight, 0 delivered, 0 failed, 0 skipped")
	}
	end(t, s, true, slow[0])
	job = advance(t, s, job.ID)
	want(t, "at the rate", figures(job), "running queued=false: 0 of 3 in flight, 1 delivered, 0 failed, 0 skipped")
	_, err := raw.ExecContext(t.Context(), `UPDATE replay_jobs SET next_at = '2999-01-01T00:00:00.000000Z'`)
	check(t, err)
	job = advance(t, s, job.ID)
	want(t, "after a jump of the clock", figures(job), "running queued=false: 1 of 3 in flight, 1 delivered, 0 failed, 0 skipped")

	ramp := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "ramp"}, Ramp: true})
	for _, window := range []int{1, 10, 19} {
		for range 2 {
			ramp = advance(t, s, ramp.ID)
			want(t, "in flight", ramp.InFlight, window)
		}
		end(t, s, true, list[:window]...)
		list = list[window:]
	}
	want(t, "ramped", advance(t, s, ramp.ID).State, dlqstore.JobDone)
}

func testJobStops(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 20)
	job := startJob(t, s, dlqstore.JobSpec{Ramp: true, StopAfter: 2})
	advance(t, s, job.ID)
	end(t, s, true, list[0])
	advance(t, s, job.ID)
	end(t, s, false, list[1])
	want(t, "after one failure", advance(t, s, job.ID).State, dlqstore.JobRunning)
	end(t, s, false, list[2])
	job = advance(t, s, job.ID)
	want(t, "after two failures", figures(job)+job.Note+job.ChangedBy,
		"paused queued=false: 9 of 20 in flight, 1 delivered, 2 failed, 0 skipped2 replays died again")
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'job_paused' AND actor = 'relay'`), 1)

	end(t, s, true, list[3:11]...)
	job, err := s.ChangeJob(t.Context(), job.ID, dlqstore.JobRunning, bob)
	check(t, err)
	want(t, "resumed", string(job.State)+job.Note+job.ChangedBy, "runningbob")
	end(t, s, false, list[11])
	job = advance(t, s, job.ID)
	want(t, "failures count anew", figures(job), "running queued=false: 8 of 20 in flight, 9 delivered, 3 failed, 0 skipped")

	job, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobPaused, alice)
	check(t, err)
	job, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobPaused, bob) // as it is already
	check(t, err)
	want(t, "paused by", job.ChangedBy, "alice")
	_, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobCancelled, alice)
	check(t, err)
	end(t, s, true, list[12:]...)
	job = advance(t, s, job.ID)
	want(t, "cancelled", figures(job), "cancelled queued=false: 0 of 20 in flight, 17 delivered, 3 failed, 0 skipped")
	want(t, "finished", job.FinishedAt.IsZero(), false)
	_, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobRunning, bob)
	var state *dlqstore.JobStateError
	want(t, "resume refused", errors.As(err, &state) && state.Actor == "alice" && state.State == dlqstore.JobCancelled, true)
	_, err = s.ChangeJob(t.Context(), "rpl_none", dlqstore.JobRunning, bob)
	want(t, "error of an unknown job", errors.Is(err, dlqstore.ErrNoJob), true)
}

func testJobQueue(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	list := letters(t, s, "a", 0, 2)
	letters(t, s, "b", 10, 2)
	letters(t, s, "c", 20, 2)
	first := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "a"}, Limit: 1})
	both := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Until: letter(15).FailedAt}})
	third := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "c"}})
	behind := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "b"}})
	inFlight := func(job dlqstore.Job) string {
		job = advance(t, s, job.ID)
		return fmt.Sprint(job.InFlight, job.Queued)
	}
	want(t, "first", inFlight(first), "1 false")
	want(t, "a job of the same route", inFlight(both), "0 true")
	want(t, "a job of another route", inFlight(third), "2 false")
	want(t, "a job behind one that waits", inFlight(behind), "0 true")

	// A paused job keeps nobody waiting.
	_, err := s.ChangeJob(t.Context(), both.ID, dlqstore.JobPaused, bob)
	check(t, err)
	want(t, "behind a paused job", inFlight(behind), "2 false")
	_, err = s.ChangeJob(t.Context(), both.ID, dlqstore.JobRunning, bob)
	check(t, err)
	end(t, s, true, list[0])
	advance(t, s, first.ID)
	want(t, "once the first is done", inFlight(both), "1 false")
}

// testJobRace has several processes that advance the same jobs: each dead letter is
// started once.
func testJobRace(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 300)
	job := startJob(t, s, dlqstore.JobSpec{})
	const processes = 4
	errs := make(chan error)
	for range processes {
		go func() {
			var err error
			for range 4 {
				if _, e := s.AdvanceJobs(context.Background()); e != nil {
					err = e
				}
			}
			errs <- err
		}()
	}
	for range processes {
		check(t, <-errs)
	}
	want(t, "started", figures(advance(t, s, job.ID)), "running queued=false: 300 of 300 in flight, 0 delivered, 0 failed, 0 skipped")
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'replay'`), len(list))
}

package dlqstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

const (
	// maxInFlight is how many replays of a job are started and not at an end, so that a
	// pause takes hold soon and the lane stays short.
	maxInFlight = 500
	// jobStep is how many replays of a job one transaction starts at most.
	jobStep = 100
	// jobPoll is how often a running job is looked after; idlePoll one that only waits.
	jobPoll  = 200 * time.Millisecond
	idlePoll = 2 * time.Second
)

// AdvanceJobs does it all in one transaction that projects nothing but keeps others from
// projecting: so the outcomes that it counts do not change under it, and of several
// processes one advances at a time.
func (s *store) AdvanceJobs(ctx context.Context) (time.Duration, error) {
	const unfinished = `SELECT count(*) FROM replay_jobs WHERE finished_at IS NULL`
	var n int
	if err := s.read.QueryRowContext(ctx, unfinished).Scan(&n); err != nil {
		return 0, fmt.Errorf("look for replay jobs: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	wait := idlePoll
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		jobs, err := readJobs(ctx, tx, ` WHERE finished_at IS NULL ORDER BY number `+s.dialect.forUpdate)
		if err != nil {
			return err
		}
		markQueued(jobs)
		for _, job := range jobs {
			next, err := s.advance(ctx, tx, &job)
			if err != nil {
				return fmt.Errorf("replay job %s: %w", job.ID, err)
			}
			wait = min(wait, next)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("advance replay jobs: %w", err)
	}
	return wait, nil
}

// advance counts what came to an end, starts what may start, and says when to look
// again.
func (s *store) advance(ctx context.Context, tx *sql.Tx, job *Job) (time.Duration, error) {
	if err := countEnds(ctx, tx, job); err != nil {
		return 0, err
	}
	now := time.Now()
	next := idlePoll
	if job.State == JobRunning && !job.Queued {
		if k := job.Spec.StopAfter; k > 0 && job.Failed-job.failures >= k {
			note := fmt.Sprintf("%d replays died again", job.Failed-job.failures)
			return next, s.moveJob(ctx, tx, job, JobPaused, note, Actor{})
		}
		started, err := s.startItems(ctx, tx, job, job.mayStart(now))
		if err != nil {
			return 0, err
		}
		job.nextAt = job.nextAfter(now, started)
		if next = jobPoll; started == jobStep {
			next = time.Millisecond // there are more that may start
		}
		if job.Remaining() == 0 {
			job.FinishedAt = now
			return next, s.moveJob(ctx, tx, job, JobDone, "", Actor{})
		}
	}
	if job.State == JobCancelled && job.InFlight == 0 {
		job.FinishedAt = now
	}
	return next, saveJob(ctx, tx, *job)
}

// mayStart is how many replays the job may start now.
func (j Job) mayStart(now time.Time) int {
	n := min(j.window()-j.InFlight, jobStep)
	if rate := j.Spec.RatePerSecond; rate > 0 {
		burst := math.Max(1, rate*jobPoll.Seconds())
		allowed := math.Min(burst, 1+now.Sub(j.due(now)).Seconds()*rate)
		n = min(n, int(math.Max(0, allowed)))
	}
	return max(0, n)
}

// nextAfter is when the rate allows the next replay once so many were started. Time in
// which nothing was due is lost: the rate is not caught up on.
func (j Job) nextAfter(now time.Time, started int) time.Time {
	rate := j.Spec.RatePerSecond
	if rate == 0 || started == 0 {
		return j.nextAt
	}
	from := now.Add(-jobPoll)
	if due := j.due(now); due.After(from) {
		from = due
	}
	return from.Add(time.Duration(float64(started) / rate * float64(time.Second)))
}

// due is when the rate allows the next replay. No job has longer to wait than one
// replay takes, but for the minute by which the clocks of two processes may differ; a
// moment beyond that was written down before the clock was set back, and is now.
func (j Job) due(now time.Time) time.Time {
	if j.nextAt.Sub(now).Seconds() > 1/j.Spec.RatePerSecond+60 {
		return now
	}
	return j.nextAt
}

// window is how many may be in flight at once.
func (j Job) window() int {
	if j.Spec.Ramp {
		before := 0
		for step := 1; step < maxInFlight; step *= 10 {
			if before += step; j.Delivered < before {
				return step
			}
		}
	}
	return maxInFlight
}

// countEnds finds out what became of the replays that the job started.
func countEnds(ctx context.Context, tx *sql.Tx, job *Job) error {
	if job.InFlight == 0 {
		return nil
	}
	const ended = `UPDATE replay_items
		SET state = CASE WHEN d.state = 'delivered' AND d.replay_count = replay_items.replay THEN 'delivered' ELSE 'failed' END
		FROM dead_letters AS d
		WHERE job = $1 AND replay_items.state = 'sent' AND d.id = dead_letter_id
			AND NOT (d.state = 'replaying' AND d.replay_count = replay_items.replay)
		RETURNING replay_items.state`
	rows, err := tx.QueryContext(ctx, ended, job.number)
	ends, err := collect(rows, err, scanString)
	if err != nil {
		return fmt.Errorf("count the ends of replays: %w", err)
	}
	for _, state := range ends {
		if State(state) == Delivered {
			job.Delivered++
		} else {
			job.Failed++
		}
	}
	// A row may have been pruned since; its outcome will not be known.
	const gone = `UPDATE replay_items SET state = 'skipped'
		WHERE job = $1 AND state = 'sent' AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE id = dead_letter_id)`
	lost, err := affected(tx.ExecContext(ctx, gone, job.number))
	if err != nil {
		return fmt.Errorf("count the ends of replays: %w", err)
	}
	job.Skipped += lost
	job.InFlight -= len(ends) + lost
	return nil
}

func affected(r sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// startItems starts the replays of the next n items. What is no longer dead, or has an
// edited copy that may go out, is skipped.
func (s *store) startItems(ctx context.Context, tx *sql.Tx, job *Job, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	const next = `SELECT position, dead_letter_id FROM replay_items
		WHERE job = $1 AND state = 'pending' ORDER BY position LIMIT $2`
	rows, err := tx.QueryContext(ctx, next, job.number, n)
	last := 0
	ids, err := collect(rows, err, func(s scanner) (id string, err error) {
		err = s.Scan(&last, &id)
		return id, err
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	by := Actor{Name: job.CreatedBy, Source: job.source}
	//nolint:gosec // constants only
	start := `UPDATE dead_letters
		SET state = 'replaying', replay_count = replay_count + 1, replay_sent_at = NULL, changed_by = $2, changed_at = $3
		WHERE ` + fmt.Sprintf(s.dialect.isOneOf, "id", 1) + ` AND ` + stateByID + ` = 'dead' AND NOT EXISTS (
			SELECT 1 FROM dead_letters AS other
			WHERE (other.id = dead_letters.family OR other.family = dead_letters.family AND other.replay_of IS NOT NULL)
				AND other.id <> dead_letters.id AND other.state <> 'discarded')
		RETURNING id, replay_count`
	rows, err = tx.QueryContext(ctx, start, string(mustJSON(ids)), by.Name, formatStamp(time.Now()))
	var started []string
	replays, err := collect(rows, err, func(s scanner) (auditRow, error) {
		a, err := scanReplay(ActionReplay, s)
		a.by, a.detail["job"] = by, job.ID
		started = append(started, a.id)
		return a, err
	})
	if err != nil {
		return 0, err
	}
	if err := s.audit(ctx, tx, replays...); err != nil {
		return 0, err
	}
	if len(started) > 0 {
		//nolint:gosec // constants only
		sent := `UPDATE replay_items SET state = 'sent', replay = (SELECT replay_count FROM dead_letters WHERE id = dead_letter_id)
			WHERE job = $1 AND state = 'pending' AND position <= $2 AND ` + fmt.Sprintf(s.dialect.isOneOf, "dead_letter_id", 3)
		if _, err := tx.ExecContext(ctx, sent, job.number, last, string(mustJSON(started))); err != nil {
			return 0, err
		}
	}
	const skip = `UPDATE replay_items SET state = 'skipped' WHERE job = $1 AND state = 'pending' AND position <= $2`
	if _, err := tx.ExecContext(ctx, skip, job.number, last); err != nil {
		return 0, err
	}
	job.InFlight += len(started)
	job.Skipped += len(ids) - len(started)
	return len(started), nil
}

package dlqstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// ChangeJob returns the job unchanged when it is in that state already.
func (s *store) ChangeJob(ctx context.Context, id string, to JobState, by Actor) (Job, error) {
	return s.inJob(ctx, id, func(tx *sql.Tx, job *Job) error {
		if job.State == to {
			return nil
		}
		if err := job.mayChange(); err != nil {
			return err
		}
		return s.moveJob(ctx, tx, job, to, "", by)
	})
}

// ChangeJobRate lets the pace, and what is told of it, count anew from now.
func (s *store) ChangeJobRate(ctx context.Context, id string, perSecond float64, by Actor) (Job, error) {
	return s.inJob(ctx, id, func(tx *sql.Tx, job *Job) error {
		if err := job.mayChange(); err != nil || job.Spec.RatePerSecond == perSecond {
			return err
		}
		return s.setRate(ctx, tx, *job, perSecond, by)
	})
}

// inJob changes a job, while nobody else does, and returns it as it then stands.
func (s *store) inJob(ctx context.Context, id string, change func(*sql.Tx, *Job) error) (job Job, err error) {
	if !plainID(id) {
		return Job{}, ErrNoJob
	}
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		locked, err := readJobs(ctx, tx, ` WHERE id = $1 `+s.dialect.forUpdate, id)
		if err != nil {
			return err
		}
		if len(locked) == 0 {
			return ErrNoJob
		}
		if err := change(tx, &locked[0]); err != nil {
			return err
		}
		job, err = s.jobByID(ctx, tx, id)
		return err
	})
	if err != nil {
		return Job{}, fmt.Errorf("change a replay job: %w", err)
	}
	return job, nil
}

// mayChange refuses a job that is at its end.
func (j Job) mayChange() error {
	if j.State == JobRunning || j.State == JobPaused {
		return nil
	}
	return &JobStateError{ID: j.ID, State: j.State, Actor: j.ChangedBy, At: j.ChangedAt}
}

// moveJob brings a job into another state, with its audit row. A zero by is relay.
func (s *store) moveJob(ctx context.Context, tx *sql.Tx, job *Job, to JobState, note string, by Actor) error {
	now := time.Now()
	if to == JobRunning { // its pace and its failures count anew
		job.pacedAt, job.pacedFrom, job.failures = now, job.Done(), job.Failed
	}
	if to == JobCancelled && job.InFlight == 0 {
		job.FinishedAt = now
	}
	job.State, job.Note, job.ChangedAt, job.ChangedBy = to, note, now, by.Name
	if err := saveJob(ctx, tx, *job); err != nil {
		return err
	}
	return s.audit(ctx, tx, auditRow{
		action: Action("job_" + to), by: by, route: job.route(), reason: note,
		detail: map[string]any{"job": job.ID, "done": job.Done(), "in_flight": job.InFlight, "count": job.Total},
	})
}

func (s *store) setRate(ctx context.Context, tx *sql.Tx, job Job, perSecond float64, by Actor) error {
	const update = `UPDATE replay_jobs SET rate_per_second = $2, next_at = $3, paced_at = $3, paced_from = $4 WHERE number = $1`
	if _, err := tx.ExecContext(ctx, update, job.number, perSecond, formatStamp(time.Now()), job.Done()); err != nil {
		return fmt.Errorf("write replay job %s: %w", job.ID, err)
	}
	return s.audit(ctx, tx, auditRow{action: ActionJobRate, by: by, route: job.route(), detail: map[string]any{
		"job": job.ID, "rate_per_second": perSecond, "rate_before": job.Spec.RatePerSecond, "done": job.Done(), "count": job.Total,
	}})
}

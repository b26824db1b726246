package dlqstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// ActionJobRate is written when somebody gives a replay job another rate.
const ActionJobRate Action = "job_rate"

// ChangeJobRate lets the pace, and what is told of it, count anew from now.
func (s *store) ChangeJobRate(ctx context.Context, id string, perSecond float64, by Actor) (job Job, err error) {
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		locked, err := readJobs(ctx, tx, ` WHERE id = $1 `+s.dialect.forUpdate, id)
		switch {
		case err != nil:
			return err
		case len(locked) == 0:
			return ErrNoJob
		}
		job = locked[0]
		switch {
		case job.State != JobRunning && job.State != JobPaused:
			return &JobStateError{ID: id, State: job.State, Actor: job.ChangedBy, At: job.ChangedAt}
		case job.Spec.RatePerSecond != perSecond:
			if err := s.setRate(ctx, tx, job, perSecond, by); err != nil {
				return err
			}
		}
		job, err = s.jobByID(ctx, tx, id)
		return err
	})
	if err != nil {
		return Job{}, fmt.Errorf("change the rate of a replay job: %w", err)
	}
	return job, nil
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

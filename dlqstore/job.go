package dlqstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNoJob says that no replay job has the id asked for.
var ErrNoJob = errors.New("no such replay job")

// JobState is where a replay job stands.
type JobState string

// The states of a job. What it has started goes on in every one of them.
const (
	JobRunning   JobState = "running" // it starts replays, or waits for its turn
	JobPaused    JobState = "paused"  // it starts none until it is resumed
	JobCancelled JobState = "cancelled"
	JobDone      JobState = "done"
)

// JobStateError says that a job cannot be paused, resumed or cancelled any more.
type JobStateError struct {
	ID    string
	State JobState
	Actor string // who brought it there; empty when relay did
	At    time.Time
}

// Error tells the state, since when, and by whom.
func (e *JobStateError) Error() string {
	return stands("replay job "+e.ID, string(e.State), e.Actor, e.At)
}

// JobSpec says what a replay job sends, and at what pace.
type JobSpec struct {
	// Filter chooses among the dead letters that are dead; its State is not looked at.
	Filter Filter
	// Limit is how many are replayed at most, the oldest failures first. 0: all.
	Limit int
	// RatePerSecond bounds how many are started in a second. 0: as many as the
	// receiver takes.
	RatePerSecond float64
	// Ramp starts with one replay, then 10 and then 100 at a time, each step when
	// those before got through.
	Ramp bool
	// StopAfter pauses the job when that many of its replays died again since it was
	// started or resumed. 0: never.
	StopAfter int
}

// Job is a replay job and how far it is.
type Job struct {
	ID    string
	Spec  JobSpec
	State JobState
	// Queued says that a running job waits for an older one with a route in common.
	Queued bool
	Note   string   // why relay paused it; else empty
	Routes []string // of what it holds

	Total     int // dead letters that the filter chose at the start
	InFlight  int // started, outcome not known yet
	Delivered int
	Failed    int // died again
	Skipped   int // no longer dead when their turn came

	CreatedAt  time.Time
	CreatedBy  string
	ChangedAt  time.Time // of its state
	ChangedBy  string    // empty: relay
	FinishedAt time.Time // zero: its figures may still change

	number    int64
	source    string // of the one who created it
	failures  int    // how many had failed when it was last started or resumed
	nextAt    time.Time
	pacedAt   time.Time
	pacedFrom int
}

// Done is how many are at an end, whichever.
func (j Job) Done() int { return j.Delivered + j.Failed + j.Skipped }

// Remaining is how many are not at an end yet.
func (j Job) Remaining() int { return j.Total - j.Done() }

// paceShows is how long a job goes on at a pace before an end is told from it: until its
// first deliveries come back it looks far too slow.
const paceShows = 3 * time.Second

// ETA is how long the rest takes at the pace since the job was started, resumed or given
// another rate. 0: that cannot be told, or not yet.
func (j Job) ETA(now time.Time) time.Duration {
	took, done := now.Sub(j.pacedAt), j.Done()-j.pacedFrom
	if j.State != JobRunning || j.Queued || done <= 0 || took < paceShows {
		return 0
	}
	return time.Duration(float64(took) / float64(done) * float64(j.Remaining()))
}

// route is that of all that the job holds; empty: there are several.
func (j Job) route() string {
	if len(j.Routes) == 1 {
		return j.Routes[0]
	}
	return ""
}

func (s *store) CountReplay(ctx context.Context, spec JobSpec) (int, error) {
	f := spec.Filter
	f.State = Dead
	return s.countAll(ctx, f, spec.Limit)
}

func (s *store) StartJob(ctx context.Context, spec JobSpec, by Actor) (Job, error) {
	id := "rpl_" + strings.ToLower(rand.Text())
	var job Job
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		number, err := insertJob(ctx, tx, id, spec, by)
		if err != nil {
			return err
		}
		if err := s.snapshot(ctx, tx, number, spec); err != nil {
			return err
		}
		if job, err = s.jobByID(ctx, tx, id); err != nil {
			return err
		}
		detail := map[string]any{"job": id, "filter": spec.Filter, "count": job.Total}
		return s.audit(ctx, tx, auditRow{action: ActionJobStarted, by: by, route: job.route(), detail: detail})
	})
	if err != nil {
		return Job{}, fmt.Errorf("start a replay job: %w", err)
	}
	return job, nil
}

func insertJob(ctx context.Context, tx *sql.Tx, id string, spec JobSpec, by Actor) (number int64, err error) {
	const insert = `INSERT INTO replay_jobs (id, state, note, filter, routes, rate_per_second, ramp, stop_after, failures_at,
			total, in_flight, delivered, failed, skipped, next_at, paced_at, paced_from, created_at, created_by,
			created_source, changed_at, changed_by)
		VALUES ($1, 'running', '', $2, '[]', $3, $4, $5, 0, 0, 0, 0, 0, 0, $6, $6, 0, $6, $7, $8, $6, $7)
		RETURNING number`
	err = tx.QueryRowContext(ctx, insert, id, string(mustJSON(spec.Filter)), spec.RatePerSecond, spec.Ramp, spec.StopAfter,
		formatStamp(time.Now()), cleanText(by.Name), cleanText(by.Source)).Scan(&number)
	return number, err
}

// snapshot writes down what the filter chooses now. A job without anything is done.
func (s *store) snapshot(ctx context.Context, tx *sql.Tx, number int64, spec JobSpec) error {
	f := spec.Filter
	f.State = Dead
	w := s.where(f)
	chosen := w.sql()
	//nolint:gosec // constants and the numbers of parameters
	insert := `INSERT INTO replay_items (job, position, dead_letter_id, state, replay)
		SELECT CAST(` + w.arg(number) + ` AS bigint), row_number() OVER (ORDER BY failed_at, id), id, 'pending', 0
		FROM dead_letters` + chosen + ` ORDER BY failed_at, id` + limitOf(spec.Limit)
	result, err := tx.ExecContext(ctx, insert, w.args...)
	if err != nil {
		return err
	}
	total, err := result.RowsAffected()
	if err != nil {
		return err
	}
	const routesOf = `SELECT DISTINCT route FROM replay_items JOIN dead_letters ON id = dead_letter_id WHERE job = $1 ORDER BY route`
	rows, err := tx.QueryContext(ctx, routesOf, number)
	routes, err := collect(rows, err, scanString)
	if err != nil {
		return err
	}
	const update = `UPDATE replay_jobs SET total = $2, routes = $3, state = $4, finished_at = $5 WHERE number = $1`
	state, finished := JobRunning, any(nil)
	if total == 0 {
		state, finished = JobDone, formatStamp(time.Now())
	}
	_, err = tx.ExecContext(ctx, update, number, total, string(mustJSON(routes)), string(state), finished)
	return err
}

func (s *store) Job(ctx context.Context, id string) (Job, error) {
	job, err := s.jobByID(ctx, s.read, id)
	if err != nil && !errors.Is(err, ErrNoJob) {
		err = fmt.Errorf("read replay job %q: %w", id, err)
	}
	return job, err
}

func (s *store) Jobs(ctx context.Context, limit int) ([]Job, error) {
	jobs, err := readJobs(ctx, s.read, ` ORDER BY number DESC LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list replay jobs: %w", err)
	}
	return jobs, nil
}

// saveJob writes what changes of a job.
func saveJob(ctx context.Context, tx *sql.Tx, j Job) error {
	const update = `UPDATE replay_jobs SET state = $2, note = $3, failures_at = $4, in_flight = $5, delivered = $6, failed = $7,
			skipped = $8, next_at = $9, paced_at = $10, paced_from = $11, changed_at = $12, changed_by = $13, finished_at = $14
		WHERE number = $1`
	finished := any(nil)
	if !j.FinishedAt.IsZero() {
		finished = formatStamp(j.FinishedAt)
	}
	_, err := tx.ExecContext(ctx, update, j.number, string(j.State), j.Note, j.failures, j.InFlight, j.Delivered, j.Failed,
		j.Skipped, formatStamp(j.nextAt), formatStamp(j.pacedAt), j.pacedFrom, formatStamp(j.ChangedAt),
		cleanText(j.ChangedBy), finished)
	if err != nil {
		return fmt.Errorf("write replay job %s: %w", j.ID, err)
	}
	return nil
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// jobByID returns a job, or ErrNoJob.
func (s *store) jobByID(ctx context.Context, q querier, id string) (Job, error) {
	if !plainID(id) {
		return Job{}, ErrNoJob
	}
	jobs, err := readJobs(ctx, q, ` WHERE id = $1 OR finished_at IS NULL ORDER BY number`, id)
	if err != nil {
		return Job{}, err
	}
	markQueued(jobs)
	i := slices.IndexFunc(jobs, func(j Job) bool { return j.ID == id })
	if i < 0 {
		return Job{}, ErrNoJob
	}
	return jobs[i], nil
}

// markQueued tells which of the unfinished jobs, in their order, wait for others.
func markQueued(jobs []Job) {
	busy := map[string]bool{}
	for i := range jobs {
		j := &jobs[i]
		if j.State != JobRunning {
			continue
		}
		for _, route := range j.Routes {
			j.Queued = j.Queued || busy[route]
		}
		for _, route := range j.Routes {
			busy[route] = true
		}
	}
}

func readJobs(ctx context.Context, q querier, which string, args ...any) ([]Job, error) {
	const query = `SELECT number, id, state, note, filter, routes, rate_per_second, ramp, stop_after, failures_at, total, in_flight,
			delivered, failed, skipped, next_at, paced_at, paced_from, created_at, created_by, created_source, changed_at,
			changed_by, coalesce(finished_at, created_at), finished_at IS NOT NULL
		FROM replay_jobs`
	rows, err := q.QueryContext(ctx, query+which, args...)
	return collect(rows, err, func(s scanner) (Job, error) {
		var j Job
		var filter, routes string
		var finished bool
		err := s.Scan(&j.number, &j.ID, &j.State, &j.Note, &filter, &routes, &j.Spec.RatePerSecond, &j.Spec.Ramp,
			&j.Spec.StopAfter, &j.failures, &j.Total, &j.InFlight, &j.Delivered, &j.Failed, &j.Skipped, (*stamp)(&j.nextAt),
			(*stamp)(&j.pacedAt), &j.pacedFrom, (*stamp)(&j.CreatedAt), &j.CreatedBy, &j.source, (*stamp)(&j.ChangedAt),
			&j.ChangedBy, (*stamp)(&j.FinishedAt), &finished)
		if err != nil {
			return Job{}, err
		}
		if !finished {
			j.FinishedAt = time.Time{}
		}
		return j, errors.Join(json.Unmarshal([]byte(filter), &j.Spec.Filter), json.Unmarshal([]byte(routes), &j.Routes))
	})
}

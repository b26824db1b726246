package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"relay/dlqstore"
)

// filterRequest is a filter in a body, with the words of the query's parameters.
type filterRequest struct {
	IDs         []string `json:"ids"`
	Route       string   `json:"route"`
	Subject     string   `json:"subject"`
	Reason      string   `json:"reason"`
	Status      int      `json:"status"`
	State       string   `json:"state"` // only dead ones are replayed
	Fingerprint string   `json:"fingerprint"`
	MinAttempts int      `json:"min_attempts"`
	Query       string   `json:"q"`
	Since       string   `json:"since"`
	Until       string   `json:"until"`
}

type replaysRequest struct {
	// Filter has to be there: {} chooses all, and nobody chooses all by forgetting it.
	Filter        *filterRequest `json:"filter"`
	RatePerSecond float64        `json:"rate_per_second"` // 0: as many as the receiver takes
	Limit         int            `json:"limit"`           // 0: all
	Ramp          bool           `json:"ramp"`            // one, then 10, then 100 at a time
	StopAfter     int            `json:"stop_after"`      // new failures that pause the job; 0: never
	DryRun        bool           `json:"dry_run"`
}

// jobJSON is a replay job and how far it is.
type jobJSON struct {
	ID            string            `json:"id"`
	State         dlqstore.JobState `json:"state"`
	Queued        bool              `json:"queued"` // it waits for an older job of one of its routes
	Note          string            `json:"note"`   // why relay paused it
	Filter        dlqstore.Filter   `json:"filter"`
	Routes        []string          `json:"routes"`
	RatePerSecond float64           `json:"rate_per_second"`
	Ramp          bool              `json:"ramp"`
	StopAfter     int               `json:"stop_after"`
	Total         int               `json:"total"`
	Done          int               `json:"done"` // delivered, failed and skipped together
	Delivered     int               `json:"delivered"`
	Failed        int               `json:"failed"`  // died again
	Skipped       int               `json:"skipped"` // no longer dead when their turn came
	InFlight      int               `json:"in_flight"`
	Remaining     int               `json:"remaining"`             // not at an end yet, those in flight among them
	ETASeconds    int64             `json:"eta_seconds,omitempty"` // absent: cannot be told
	CreatedAt     time.Time         `json:"created_at"`
	CreatedBy     string            `json:"created_by"`
	ChangedAt     time.Time         `json:"changed_at"`
	ChangedBy     string            `json:"changed_by"` // empty: relay
	FinishedAt    time.Time         `json:"finished_at,omitzero"`
}

func (s *Server) jobJSON(j dlqstore.Job) jobJSON {
	return jobJSON{
		ID: j.ID, State: j.State, Queued: j.Queued, Note: j.Note, Filter: j.Spec.Filter, Routes: j.Routes,
		RatePerSecond: j.Spec.RatePerSecond, Ramp: j.Spec.Ramp, StopAfter: j.Spec.StopAfter,
		Total: j.Total, Done: j.Done(), Delivered: j.Delivered, Failed: j.Failed, Skipped: j.Skipped, InFlight: j.InFlight,
		Remaining: j.Remaining(), ETASeconds: int64(j.ETA(s.now()).Round(time.Second) / time.Second),
		CreatedAt: j.CreatedAt.UTC(), CreatedBy: j.CreatedBy, ChangedAt: j.ChangedAt.UTC(), ChangedBy: j.ChangedBy,
		FinishedAt: j.FinishedAt.UTC(),
	}
}

// startReplays counts, or starts a job and answers before it has done anything.
func (s *Server) startReplays(w http.ResponseWriter, r *http.Request) error {
	var req replaysRequest
	if err := readJSON(w, r, maxReplaysBytes, &req); err != nil {
		return err
	}
	spec, err := req.spec(s.now())
	if err != nil {
		return err
	}
	if req.DryRun {
		n, err := s.opts.Store.CountReplay(r.Context(), spec)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, map[string]int{"count": n})
		return nil
	}
	job, err := s.opts.Store.StartJob(r.Context(), spec, actor(r))
	if err != nil {
		return err
	}
	s.wakeReplays()
	writeJSON(w, http.StatusAccepted, s.jobJSON(job))
	return nil
}

// maxReplaysBytes is room for some 100,000 ids.
const maxReplaysBytes = 4 << 20

func (req replaysRequest) spec(now time.Time) (dlqstore.JobSpec, error) {
	var spec dlqstore.JobSpec
	switch {
	case req.Filter == nil:
		return spec, invalid("invalid_body", "filter: an object wanted; {} chooses all dead letters")
	case req.Filter.State != "" && req.Filter.State != string(dlqstore.Dead):
		return spec, invalid("invalid_body", "filter.state: only what is dead can be replayed")
	case req.Limit < 0 || req.StopAfter < 0:
		return spec, invalid("invalid_body", "limit and stop_after: 0 or more wanted")
	}
	if err := checkRate(req.RatePerSecond); err != nil {
		return spec, err
	}
	filter, err := req.Filter.parse(now)
	return dlqstore.JobSpec{
		Filter: filter, Limit: req.Limit, RatePerSecond: req.RatePerSecond, Ramp: req.Ramp, StopAfter: req.StopAfter,
	}, err
}

// Bounds of rate_per_second: one a day or so, and more than any receiver takes.
const (
	minRate = 0.00001
	maxRate = 100_000.0
)

func checkRate(perSecond float64) error {
	if perSecond == 0 || perSecond >= minRate && perSecond <= maxRate {
		return nil
	}
	return invalid("invalid_body", "rate_per_second: a number from %s to %s wanted, or 0 for no limit", number(minRate), number(maxRate))
}

func (f *filterRequest) parse(now time.Time) (dlqstore.Filter, error) {
	query := url.Values{
		"route": {f.Route}, "subject": {f.Subject}, "reason": {f.Reason}, "fingerprint": {f.Fingerprint},
		"q": {f.Query}, "since": {f.Since}, "until": {f.Until},
	}
	if f.Status != 0 {
		query.Set("status", strconv.Itoa(f.Status))
	}
	if f.MinAttempts != 0 {
		query.Set("min_attempts", strconv.Itoa(f.MinAttempts))
	}
	return parseChoice(query, f.IDs, now)
}

// parseChoice is parseFilter for what is chosen by ids too. Nil: not by ids.
func parseChoice(query url.Values, ids []string, now time.Time) (dlqstore.Filter, error) {
	filter, _, err := parseFilter(query, now)
	if err != nil {
		return dlqstore.Filter{}, err
	}
	for _, id := range ids {
		if !idPattern.MatchString(id) {
			return dlqstore.Filter{}, invalid("invalid_body", "filter.ids: %q is not the id of a dead letter", visible(id))
		}
	}
	filter.IDs = ids
	return filter, nil
}

func (s *Server) listReplays(w http.ResponseWriter, r *http.Request) error {
	query, err := strictQuery(r, "limit")
	if err != nil {
		return err
	}
	limit, err := parseNumber("limit", query.Get("limit"), 1, 500)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = 50
	}
	jobs, err := s.opts.Store.Jobs(r.Context(), limit)
	if err != nil {
		return err
	}
	list := make([]jobJSON, len(jobs))
	for i, j := range jobs {
		list[i] = s.jobJSON(j)
	}
	writeJSON(w, http.StatusOK, map[string]any{"replays": list})
	return nil
}

func (s *Server) getReplay(w http.ResponseWriter, r *http.Request) error {
	job, err := s.opts.Store.Job(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.jobJSON(job))
	return nil
}

// changeReplay makes a handler that brings a job into the state.
func (s *Server) changeReplay(to dlqstore.JobState) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := readJSON(w, r, maxBodyBytes, &struct{}{}); err != nil {
			return err
		}
		job, err := s.changeJob(r, to)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, s.jobJSON(job))
		return nil
	}
}

// changeReplayRate asks for the rate itself: nobody takes the limit off by forgetting it.
func (s *Server) changeReplayRate(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		RatePerSecond *float64 `json:"rate_per_second"`
	}
	if err := readJSON(w, r, maxBodyBytes, &req); err != nil {
		return err
	}
	if req.RatePerSecond == nil {
		return invalid("invalid_body", "rate_per_second: a number wanted, 0 for no limit")
	}
	job, err := s.setRate(r, *req.RatePerSecond)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.jobJSON(job))
	return nil
}

func (s *Server) changeJob(r *http.Request, to dlqstore.JobState) (dlqstore.Job, error) {
	job, err := s.opts.Store.ChangeJob(r.Context(), r.PathValue("id"), to, actor(r))
	if err == nil {
		s.wakeReplays()
	}
	return job, err
}

// setRate gives a job another rate, from now on.
func (s *Server) setRate(r *http.Request, perSecond float64) (dlqstore.Job, error) {
	if err := checkRate(perSecond); err != nil {
		return dlqstore.Job{}, err
	}
	job, err := s.opts.Store.ChangeJobRate(r.Context(), r.PathValue("id"), perSecond, actor(r))
	if err == nil {
		s.wakeReplays()
	}
	return job, err
}

func (s *Server) wakeReplays() {
	if s.opts.Replays != nil {
		s.opts.Replays.Wake()
	}
}

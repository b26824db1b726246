package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"relay/dlqstore"
)

type replaysView struct {
	frame
	Jobs []jobRow
}

// jobRow is a replay job and how far it is.
type jobRow struct {
	ID, Path                            string
	State                               badge
	What, Pace, Note                    string
	Done, Total                         int // for the bar
	Progress, Left                      string
	Delivered, Failed, Skipped, Flight  string
	By                                  string
	CreatedAt                           moment
	CanPause, CanResume, CanCancel, New bool
}

// shownJobs is how many of the newest jobs the page lists.
const shownJobs = 50

func (s *Server) replaysPage(w http.ResponseWriter, r *http.Request) error {
	jobs, err := s.opts.Store.Jobs(r.Context(), shownJobs)
	if err != nil {
		return err
	}
	view := replaysView{frame: s.frame(r, "Replays", "replays")}
	query := r.URL.Query()
	view.Notice = noticeOf(query)
	for _, j := range jobs {
		row := s.jobRow(j)
		row.New = j.ID == query.Get(aboutParam)
		row.CanPause = view.MayOperate && j.State == dlqstore.JobRunning
		row.CanResume = view.MayOperate && j.State == dlqstore.JobPaused
		row.CanCancel = row.CanPause || row.CanResume
		view.Jobs = append(view.Jobs, row)
	}
	return render(w, s.pages.replays, http.StatusOK, view)
}

func (s *Server) jobRow(j dlqstore.Job) jobRow {
	row := jobRow{
		ID: j.ID, Path: "/replays/" + url.PathEscape(j.ID), State: jobBadge(j.State), What: filterText(j.Spec.Filter),
		Pace: paceText(j.Spec), Note: visible(j.Note), Done: j.Done(), Total: j.Total,
		Progress: digits(j.Done()) + " of " + digits(j.Total), Delivered: digits(j.Delivered), Failed: digits(j.Failed),
		Skipped: digits(j.Skipped), Flight: digits(j.InFlight), By: visible(j.CreatedBy), CreatedAt: s.moment(j.CreatedAt),
	}
	if eta := j.ETA(s.now()); eta > 0 {
		row.Left = "about " + eta.Round(time.Second).String() + " left"
	}
	return row
}

func jobBadge(state dlqstore.JobState) badge {
	switch state {
	case dlqstore.JobRunning:
		return badge{"Running", "busy", "replay"}
	case dlqstore.JobPaused:
		return badge{"Paused", "warn", "pause"}
	case dlqstore.JobCancelled:
		return badge{"Cancelled", "quiet", "minus"}
	case dlqstore.JobDone:
		return badge{"Done", "ok", "check"}
	default:
		return badge{visible(string(state)), "quiet", "dots"}
	}
}

// filterText says in words what a filter chooses.
func filterText(f dlqstore.Filter) string {
	var words []string
	say := func(what, value string) {
		if value != "" {
			words = append(words, what+" "+visible(value))
		}
	}
	if f.IDs != nil {
		words = append(words, digits(len(f.IDs))+" chosen by id")
	}
	say("route", f.Route)
	say("subject", f.Subject)
	say("reason", string(f.Reason))
	if f.Status != 0 {
		say("status", strconv.Itoa(f.Status))
	}
	if f.Fingerprint != "" {
		words = append(words, "of one cause")
	}
	say("text", f.Query)
	if !f.Since.IsZero() {
		say("failed since", f.Since.UTC().Format(time.RFC3339))
	}
	if !f.Until.IsZero() {
		say("failed before", f.Until.UTC().Format(time.RFC3339))
	}
	if len(words) == 0 {
		return "all dead letters"
	}
	return strings.Join(words, ", ")
}

func paceText(spec dlqstore.JobSpec) string {
	pace := []string{"as fast as the receiver takes"}
	if spec.RatePerSecond > 0 {
		pace[0] = number(spec.RatePerSecond) + " a second"
	}
	if spec.Ramp {
		pace = append(pace, "ramped up")
	}
	if spec.StopAfter > 0 {
		pace = append(pace, "pauses after "+count(spec.StopAfter, "new failure"))
	}
	return strings.Join(pace, ", ")
}

// newReplaysView asks for a confirmation: how many, what, at which pace.
type newReplaysView struct {
	frame
	Wrong   string
	Count   string // empty: there are none
	What    string
	Samples []deadLetterRow
	Chosen  []choice // the filter, to send it along
	Back    string   // the list that it chooses
	// As typed.
	Rate, Limit, StopAfter string
	Ramp                   bool
}

func (s *Server) newReplaysPage(w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	if len(form["rate"]) == 0 { // not typed yet
		form.Set("rate", "50")
		form.Set("stop_after", "20")
		form.Set("ramp", "on")
	}
	return s.askReplays(w, r, form, nil)
}

func (s *Server) startReplaysPage(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	spec, err := specOf(r.PostForm, s.now())
	if err != nil {
		return s.askReplays(w, r, r.PostForm, err)
	}
	job, err := s.opts.Store.StartJob(r.Context(), spec, actor(r))
	if err != nil {
		return err
	}
	s.wakeReplays()
	goBack(w, r, "job-started", job.ID)
	return nil
}

// askReplays shows the form as it was typed, and what is wrong with it.
func (s *Server) askReplays(w http.ResponseWriter, r *http.Request, form url.Values, wrong error) error {
	filter, _, err := parseFilter(chosen(form), s.now())
	if err != nil {
		return err
	}
	filter.State = dlqstore.Dead
	view := newReplaysView{
		frame: s.frame(r, "Replay many", "replays"), What: filterText(filter), Back: listPath(chosen(form), "", ""),
		Rate: form.Get("rate"), Limit: form.Get("limit"), StopAfter: form.Get("stop_after"), Ramp: form.Get("ramp") != "",
	}
	n, err := s.opts.Store.CountReplay(r.Context(), dlqstore.JobSpec{Filter: filter})
	if err != nil {
		return err
	}
	if n > 0 {
		view.Count = digits(n)
	}
	list, err := s.opts.Store.List(r.Context(), filter, dlqstore.Page{Limit: 3})
	if err != nil {
		return err
	}
	for _, d := range list.DeadLetters {
		view.Samples = append(view.Samples, s.deadLetterRow(d))
	}
	for name, values := range chosen(form) {
		value := values[0]
		switch name { // an age means the time that it means now
		case "since":
			value = filter.Since.UTC().Format(time.RFC3339Nano)
		case "until":
			value = filter.Until.UTC().Format(time.RFC3339Nano)
		}
		view.Chosen = append(view.Chosen, choice{Value: value, Text: name})
	}
	status := http.StatusOK
	if wrong != nil {
		status, view.Wrong = http.StatusBadRequest, sentence(s.problemOf(wrong).message)
	}
	return render(w, s.pages.newReplays, status, view)
}

// chosen are the parameters of a form that choose dead letters.
func chosen(form url.Values) url.Values {
	q := url.Values{}
	for _, name := range filterParameters() {
		if v := form.Get(name); v != "" && name != "state" {
			q.Set(name, v)
		}
	}
	return q
}

// specOf reads the form of a replay job.
func specOf(form url.Values, now time.Time) (spec dlqstore.JobSpec, err error) {
	req := replaysRequest{Filter: &filterRequest{
		Route: form.Get("route"), Subject: form.Get("subject"), Reason: form.Get("reason"),
		Fingerprint: form.Get("fingerprint"), Query: form.Get("q"), Since: form.Get("since"), Until: form.Get("until"),
	}, Ramp: form.Get("ramp") != ""}
	if req.Filter.Status, err = parseNumber("status", form.Get("status"), 100, 999); err != nil {
		return spec, err
	}
	const most = 100_000_000
	if req.Limit, err = parseNumber("at most", form.Get("limit"), 1, most); err != nil {
		return spec, err
	}
	if req.StopAfter, err = parseNumber("pause after", form.Get("stop_after"), 1, most); err != nil {
		return spec, err
	}
	if rate := form.Get("rate"); rate != "" {
		if req.RatePerSecond, err = strconv.ParseFloat(rate, 64); err != nil {
			return spec, badParameter("a second", "a number wanted, got %q", visible(rate))
		}
	}
	return req.spec(now)
}

// changeJobPage makes a handler that brings a job into the state.
func (s *Server) changeJobPage(to dlqstore.JobState, done string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		job, err := s.opts.Store.ChangeJob(r.Context(), r.PathValue("id"), to, actor(r))
		if err != nil {
			return err
		}
		s.wakeReplays()
		goBack(w, r, done, job.ID)
		return nil
	}
}

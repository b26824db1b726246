package admin

import (
	"math"
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
	ID, Path                           string
	State                              badge
	What, Pace, Note                   string
	Done, Total                        int // for the bar
	Progress, Rate, Left               string
	Delivered, Failed, Skipped, Flight string
	By                                 string
	CreatedAt                          moment
	Acts                               []act // what may be done with it
	New                                bool
	FormToken, Back                    string // of its forms
}

// shownJobs is how many of the newest jobs the page lists.
const shownJobs = 50

const replaysPath = "/replays"

func jobPath(id string) string { return replaysPath + "/" + url.PathEscape(id) }

func (s *Server) replaysPage(w http.ResponseWriter, r *http.Request) error {
	view, err := s.replaysView(r)
	if err != nil {
		return err
	}
	return render(w, s.pages.replays, http.StatusOK, view)
}

func (s *Server) replaysView(r *http.Request) (any, error) {
	jobs, err := s.opts.Store.Jobs(r.Context(), shownJobs)
	if err != nil {
		return nil, err
	}
	view := replaysView{frame: s.frame(r, "Replays", "replays")}
	query := r.URL.Query()
	view.Notice = noticeOf(query)
	for _, j := range jobs {
		row := s.jobRow(j, view.frame)
		row.New = j.ID == query.Get(aboutParam)
		view.Jobs = append(view.Jobs, row)
	}
	return view, nil
}

// jobView is the page of one job: the job as the list shows it, and what it holds.
type jobView struct {
	frame
	Job    jobRow
	Jobs   []jobRow // Job alone
	Events string   // path of the stream that keeps it up to date
	Rate   string   // as typed, or as it is; empty: no limit
	Wrong  string   // what is wrong with what was typed
	Tabs   []tab
	Rows   []itemRow
	Pager  pager
}

type itemRow struct {
	Position, ID, Path, Subject, Route, Error string
	State                                     badge
}

func (s *Server) jobPage(w http.ResponseWriter, r *http.Request) error {
	return s.showJob(w, r, nil)
}

// ratePage gives a job another rate; what was wrong is told where it was typed.
func (s *Server) ratePage(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	rate, err := parseRate(r.PostForm)
	if err == nil {
		_, err = s.setRate(r, rate)
	}
	if err != nil {
		return s.showJob(w, r, err)
	}
	s.goBack(w, r, "rate-changed", r.PathValue("id"))
	return nil
}

// liveJob is the part of a job's page that is kept up to date.
func (s *Server) liveJob(r *http.Request) (any, error) {
	job, err := s.opts.Store.Job(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		return nil, err
	}
	view := jobView{frame: s.frame(r, "", "")}
	view.show(s.jobRow(job, view.frame))
	return view, nil
}

func (v *jobView) show(row jobRow) {
	row.Back = row.Path
	v.Job, v.Jobs = row, []jobRow{row}
}

func (s *Server) showJob(w http.ResponseWriter, r *http.Request, wrong error) error {
	query := r.URL.Query()
	job, err := s.opts.Store.Job(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	state, err := oneOf("state", dlqstore.ItemState(query.Get("state")), dlqstore.ItemStates())
	if err != nil {
		return err
	}
	list, err := s.opts.Store.JobItems(r.Context(), job.ID, state, dlqstore.Page{Cursor: query.Get("cursor")})
	if err != nil {
		return err
	}
	view := jobView{
		frame: s.frame(r, "Replay "+job.ID, "replays"), Events: eventsPath + "?" + url.Values{"page": {"replay"}, "id": {job.ID}}.Encode(),
	}
	view.Notice = noticeOf(query)
	query.Del(noticeParam)
	query.Del(aboutParam)
	view.show(s.jobRow(job, view.frame))
	if rate := job.Spec.RatePerSecond; rate > 0 {
		view.Rate = number(rate)
	}
	status := http.StatusOK
	if wrong != nil {
		p := s.problemOf(wrong)
		status, view.Wrong, view.Rate = p.status, sentence(p.message), r.PostForm.Get("rate")
	}
	words := []choice{{Text: "All", Chosen: state == ""}}
	for _, one := range dlqstore.ItemStates() {
		words = append(words, choice{string(one), itemBadge(one).Word, one == state})
	}
	view.Tabs = tabsOf(view.Job.Path, query, words)
	view.Pager = pagerOf(view.Job.Path, query, list.Next)
	view.Pager.First, view.Pager.Then = "First", "Next"
	for _, i := range list.Items {
		view.Rows = append(view.Rows, itemRow{
			Position: digits(i.Position), ID: visible(i.DeadLetterID), Path: deadLetterPath(i.DeadLetterID),
			Subject: cut(visible(i.OriginalSubject), maxCell), Route: cut(visible(i.Route), maxCell), Error: cut(visible(i.Error), maxCell), State: itemBadge(i.State),
		})
	}
	return render(w, s.pages.job, status, view)
}

func itemBadge(s dlqstore.ItemState) badge {
	return badgeOf(s, map[dlqstore.ItemState]badge{
		dlqstore.ItemPending:   {"Waiting", "quiet", "dots"},
		dlqstore.ItemSent:      {"Sent", "busy", "replay"},
		dlqstore.ItemDelivered: {"Delivered", "ok", "check"},
		dlqstore.ItemFailed:    {"Died again", "bad", "cross"},
		dlqstore.ItemSkipped:   {"Skipped", "quiet", "minus"},
	})
}

func (s *Server) jobRow(j dlqstore.Job, f frame) jobRow {
	row := jobRow{
		ID: j.ID, Path: jobPath(j.ID), Back: replaysPath, FormToken: f.FormToken, State: jobBadge(j.State), What: filterText(j.Spec.Filter),
		Pace: paceText(j.Spec), Note: visible(j.Note), Done: j.Done(), Total: j.Total,
		Progress: digits(j.Done()) + " of " + digits(j.Total), Delivered: digits(j.Delivered), Failed: digits(j.Failed),
		Skipped: digits(j.Skipped), Flight: digits(j.InFlight), By: visible(j.CreatedBy), CreatedAt: s.moment(j.CreatedAt),
	}
	if eta := j.ETA(s.now()); eta > 0 {
		row.Left = "about " + eta.Round(time.Second).String() + " left"
		row.Rate = number(math.Round(10*float64(j.Remaining())/eta.Seconds())/10) + " a second"
	}
	cancel := act{"cancel", "Cancel", "cross"}
	switch {
	case !f.MayOperate:
	case j.State == dlqstore.JobRunning:
		row.Acts = []act{{"pause", "Pause", "pause"}, cancel}
	case j.State == dlqstore.JobPaused:
		row.Acts = []act{{"resume", "Resume", "play"}, cancel}
	}
	return row
}

func jobBadge(s dlqstore.JobState) badge {
	return badgeOf(s, map[dlqstore.JobState]badge{
		dlqstore.JobRunning:   {"Running", "busy", "replay"},
		dlqstore.JobPaused:    {"Paused", "warn", "pause"},
		dlqstore.JobCancelled: {"Cancelled", "quiet", "minus"},
		dlqstore.JobDone:      {"Done", "ok", "check"},
	})
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
	if f.MinAttempts != 0 {
		say("attempts at least", digits(f.MinAttempts))
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
	pace := []string{rateText(spec.RatePerSecond)}
	if spec.Ramp {
		pace = append(pace, "ramped up")
	}
	if spec.StopAfter > 0 {
		pace = append(pace, "pauses after "+count(spec.StopAfter, "new failure"))
	}
	return strings.Join(pace, ", ")
}

func rateText(perSecond float64) string {
	if perSecond == 0 {
		return "as fast as the receiver takes"
	}
	if whole := math.Trunc(perSecond); whole == perSecond {
		return digits(int(whole)) + " a second"
	}
	return number(perSecond) + " a second"
}

// changeJobPage makes a handler that brings a job into the state.
func (s *Server) changeJobPage(to dlqstore.JobState, done string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		job, err := s.changeJob(r, to)
		if err != nil {
			return err
		}
		s.goBack(w, r, done, job.ID)
		return nil
	}
}

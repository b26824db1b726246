package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"relay/dlqstore"
	"relay/internal/fleet"
)

type overviewView struct {
	frame
	Services []serviceView
	Routes   []routeRow
	Open     int // dead letters
	OpenText string
	Causes   []causeRow // of the open dead letters, the most frequent first
}

// causeRow is what the open dead letters of a route died of.
type causeRow struct {
	Route, RoutePath    string
	Cause               string
	Detail              string // what tells causes of the same name apart; empty: nothing has to
	Count, Path         string // and the list of them
	SamplePath          string
	FirstSeen, LastSeen moment
	Day                 *sparkView // of the last 24 hours; nil: none failed in them
	ReplayPath          string
}

// Bounds of the causes: of those that are counted, and of those that are shown.
const (
	maxCauses   = 500
	shownCauses = 8
)

// serviceView is the state of something that relay depends on.
type serviceView struct {
	Name   string
	State  badge
	Detail string
}

type routeRow struct {
	Name, Path, Description string
	Stream, Subjects        string
	State                   badge
	Reason                  string
	Rate, Success, Latency  string // – when nothing was attempted
	Pending                 string
	Oldest                  moment
	AckPending, AckLimit    string
	InFlight                string
	Open                    int
	OpenText, OpenPath      string
	LastError               string
	LastErrorAt             moment
}

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request) error {
	view, err := s.overviewView(r)
	if err != nil {
		return err
	}
	return render(w, s.pages.overview, http.StatusOK, view)
}

func (s *Server) overviewView(r *http.Request) (any, error) {
	view := overviewView{frame: s.frame(r, "Overview", "overview")}
	nats, database := s.checkServices(r.Context())
	view.Services = []serviceView{
		{"NATS", serviceBadge(nats, "Connected", "Disconnected"), visible(nats.Message)},
		{"Database", serviceBadge(database, "Reachable", "Unreachable"), visible(database.Message)},
	}
	if s.opts.Config != nil {
		view.Services = append(view.Services, s.configService())
	}
	var figures map[string]fleet.Figures
	if s.opts.Fleet != nil {
		figures = s.opts.Fleet.Figures()
		if lag := s.opts.Fleet.Lag(); lag > 0 && database.OK {
			view.Services[1].Detail = count(lag, "event") + " on the way into it"
		}
		view.Services = append(view.Services, s.processes(s.opts.Fleet.Processes()))
	}
	var causes []dlqstore.Group
	if database.OK {
		var err error
		if causes, err = s.opts.Store.Groups(r.Context(), dlqstore.Filter{State: dlqstore.Dead}, maxCauses); err != nil {
			return nil, err
		}
	}
	byRoute := map[string]int{}
	for _, g := range causes {
		byRoute[g.Route] += g.Count
		view.Open += g.Count
	}
	var err error
	if view.Causes, err = s.causeRows(r.Context(), causes[:min(len(causes), shownCauses)]); err != nil {
		return nil, err
	}
	figure := func(n int) string {
		switch {
		case !database.OK:
			return "–"
		case len(causes) == maxCauses: // there may be more
			return digits(n) + "+"
		default:
			return digits(n)
		}
	}
	for _, status := range s.opts.Routes.Routes() {
		row := s.routeRow(status, figures[status.Name])
		row.Open = byRoute[status.Name]
		row.OpenText = figure(row.Open)
		for _, text := range []*string{&row.Description, &row.Subjects, &row.Reason, &row.LastError} {
			*text = cut(*text, maxCell) // the page of the route has all of it
		}
		view.Routes = append(view.Routes, row)
	}
	view.OpenText = figure(view.Open)
	return view, nil
}

// causeRows shows groups of open dead letters, with the hours in which they failed.
func (s *Server) causeRows(ctx context.Context, groups []dlqstore.Group) ([]causeRow, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	hours, err := s.opts.Store.GroupHours(ctx, groups, dlqstore.Dead, s.now())
	if err != nil {
		return nil, err
	}
	rows, named := make([]causeRow, len(groups)), map[[2]string]int{}
	for i, g := range groups {
		rows[i] = s.causeRow(g)
		rows[i].Day = spark(hours[i][:], "failed by hour in the last 24 hours")
		named[[2]string{rows[i].Route, rows[i].Cause}]++
	}
	for i, g := range groups {
		if named[[2]string{rows[i].Route, rows[i].Cause}] > 1 {
			rows[i].Detail = cut(visible(g.Cause), maxCell)
		}
	}
	return rows, nil
}

func (s *Server) causeRow(g dlqstore.Group) causeRow {
	cause := cut(visible(g.Cause), maxCell)
	if g.Status != 0 {
		cause = statusText(g.Status)
	}
	of := "?" + url.Values{"route": {g.Route}, "fingerprint": {g.Fingerprint}}.Encode()
	return causeRow{
		Route: cut(visible(g.Route), maxCell), RoutePath: routePath(g.Route), Cause: cause, Count: digits(g.Count),
		Path: listOfDead + of, ReplayPath: "/replays/new" + of, SamplePath: deadLetterPath(g.Sample), FirstSeen: s.moment(g.FirstSeen), LastSeen: s.moment(g.LastSeen),
	}
}

func serviceBadge(c check, up, down string) badge {
	if c.OK {
		return badge{up, "ok", "check"}
	}
	return badge{down, "bad", "cross"}
}

func (s *Server) configService() serviceView {
	c := s.opts.Config()
	if c.Error != "" {
		return serviceView{"Routes file", badge{"Last reload refused", "bad", "alert"},
			s.moment(c.FailedAt).Ago + ": " + visibleText(c.Error)}
	}
	return serviceView{"Routes file", badge{"In force", "ok", "check"}, "loaded " + s.moment(c.LoadedAt).Ago}
}

// shownProcesses is how many relay processes are named.
const shownProcesses = 8

func (s *Server) processes(list []fleet.Process) serviceView {
	v := serviceView{Name: "Processes", State: badge{count(len(list), "process"), "ok", "check"}}
	var lines []string
	for _, p := range list[:min(len(list), shownProcesses)] {
		line := cut(visible(p.Instance), 60) + ", started " + s.moment(p.Since).Ago
		if p.Version != s.opts.Version {
			line += ", " + cut(visible(p.Version), 40)
		}
		lines = append(lines, line)
	}
	if more := len(list) - shownProcesses; more > 0 {
		lines = append(lines, "and "+digits(more)+" more")
	}
	v.Detail = strings.Join(lines, "\n")
	return v
}

// maxCell is how many characters of a foreign text stand in a row.
const maxCell = 200

// routeRow shows a route with its figures over all processes.
func (s *Server) routeRow(r RouteStatus, f fleet.Figures) routeRow {
	row := routeRow{
		Name: r.Name, Path: routePath(r.Name), Description: visible(r.Description),
		Stream: visible(r.Stream), Subjects: visible(strings.Join(r.FilterSubjects, ", ")),
		State: routeBadge(r.State), Reason: visible(r.StateReason),
		Pending: digits(r.NumPending), AckPending: digits(r.NumAckPending), AckLimit: digits(r.MaxAckPending),
		InFlight: digits(r.InFlight), OpenText: "–", OpenPath: openLettersPath(r.Name),
		LastError: visible(r.LastError), LastErrorAt: s.moment(r.LastErrorAt),
		Oldest: s.moment(r.OldestPendingAt), Rate: "–", Success: "–", Latency: "–",
	}
	if last := f.LastFailure; last.At.After(r.LastErrorAt) { // of another process
		row.LastError, row.LastErrorAt = visible(last.Error), s.moment(last.At)
	}
	if f.InFlight > 0 {
		row.InFlight = digits(f.InFlight)
	}
	if f.Rate > 0 {
		row.Rate = rate(f.Rate)
	}
	if f.Attempts > 0 {
		row.Success, row.Latency = share(f.Success), took(f.P50)+" / "+took(f.P95)
	}
	if f.BreakersOpen > 0 && r.State == StateRunning { // in another process
		row.Reason = "the breaker is open in " + count(f.BreakersOpen, "other process")
	}
	return row
}

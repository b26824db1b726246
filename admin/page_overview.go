package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"relay/dlqstore"
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
	Count, Path         string // and the list of them
	SamplePath          string
	FirstSeen, LastSeen moment
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
	Pending                 string
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
	var causes []dlqstore.Group
	if database.OK {
		var err error
		if causes, err = s.opts.Store.Groups(r.Context(), dlqstore.Filter{State: dlqstore.Dead}, maxCauses); err != nil {
			return nil, err
		}
	}
	byRoute := map[string]int{}
	for i, g := range causes {
		byRoute[g.Route] += g.Count
		view.Open += g.Count
		if i < shownCauses {
			view.Causes = append(view.Causes, s.causeRow(g))
		}
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
		row := s.routeRow(status)
		row.Open = byRoute[status.Name]
		row.OpenText = figure(row.Open)
		view.Routes = append(view.Routes, row)
	}
	view.OpenText = figure(view.Open)
	return view, nil
}

func (s *Server) causeRow(g dlqstore.Group) causeRow {
	cause := cut(visible(g.Cause), 160)
	if g.Status != 0 {
		cause = statusText(g.Status)
	}
	return causeRow{
		Route: visible(g.Route), RoutePath: routePath(g.Route), Cause: cause, Count: digits(g.Count),
		Path:       "/dead-letters?" + url.Values{"route": {g.Route}, "fingerprint": {g.Fingerprint}}.Encode(),
		SamplePath: deadLetterPath(g.Sample), FirstSeen: s.moment(g.FirstSeen), LastSeen: s.moment(g.LastSeen),
	}
}

// openLetters counts the dead letters of a route that wait for somebody.
func (s *Server) openLetters(ctx context.Context, route string) (int, error) {
	return s.opts.Store.Count(ctx, dlqstore.Filter{Route: route, State: dlqstore.Dead})
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

func (s *Server) routeRow(r RouteStatus) routeRow {
	return routeRow{
		Name: r.Name, Path: routePath(r.Name), Description: visible(r.Description),
		Stream: visible(r.Stream), Subjects: visible(strings.Join(r.FilterSubjects, ", ")),
		State: routeBadge(r.State), Reason: visible(r.StateReason),
		Pending: digits(r.NumPending), AckPending: digits(r.NumAckPending), AckLimit: digits(r.MaxAckPending),
		InFlight: digits(r.InFlight), OpenText: "–", OpenPath: openLettersPath(r.Name),
		LastError: visible(r.LastError), LastErrorAt: s.moment(r.LastErrorAt),
	}
}

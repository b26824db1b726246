package admin

import (
	"context"
	"net/http"
	"net/url"

	"relay/dlqstore"
	"relay/internal/fleet"
)

type routeView struct {
	frame
	routeRow
	URL        string
	Consumer   string
	Redelivery string
	Settings   []Setting
	CanPause   bool
	CanResume  bool
	Unhealthy  []string
	Charts     []chartView
	Classes    []factView
	Causes     []causeRow
	Recent     []recentRow
	Silent     string // how many processes did not tell of their attempts; empty: none
	Several    bool   // whether there is more than one process
}

// recentRow is one of the last attempts.
type recentRow struct {
	At                      moment
	Subject, Number, Detail string
	ID, Path                string
	State                   badge
	Took, Instance          string
}

func (s *Server) routePage(w http.ResponseWriter, r *http.Request) error {
	status, err := s.route(r.PathValue("name"))
	if err != nil {
		return err
	}
	var figures fleet.Figures
	if s.opts.Fleet != nil {
		figures = s.opts.Fleet.Figures()[status.Name]
	}
	view := routeView{
		frame: s.frame(r, status.Name, "overview"), routeRow: s.routeRow(status, figures),
		URL: visible(status.URL), Consumer: visible(status.Consumer), Redelivery: digits(status.NumRedelivered),
	}
	view.CanPause = view.MayOperate && status.Enabled && status.State != StatePaused
	view.CanResume = view.MayOperate && status.State == StatePaused
	for _, setting := range status.Settings {
		view.Settings = append(view.Settings, Setting{setting.Name, visible(setting.Value)})
	}
	if status.Enabled {
		view.Unhealthy = s.limits.check(status)
	}
	if s.opts.Fleet != nil {
		view.Charts = []chartView{throughput(figures.Hour[:]), latency(figures.Hour[:])}
		view.Classes = classes(figures)
		view.Several = len(s.opts.Fleet.Processes()) > 1
		list, silent := s.opts.Fleet.Attempts(r.Context(), status.Name)
		for _, a := range list {
			view.Recent = append(view.Recent, s.recentRow(a))
		}
		if silent > 0 {
			view.Silent = count(silent, "process")
		}
	}
	// The figures of the route are worth showing while the database is down.
	if err := s.routeCauses(r.Context(), &view, status.Name); err != nil {
		s.log.Warn("dead letters of a route not read", "route", status.Name, "err", err)
	}
	view.Notice = noticeOf(r.URL.Query())
	return render(w, s.pages.route, http.StatusOK, view)
}

// routeCauses adds what the open dead letters of a route died of.
func (s *Server) routeCauses(ctx context.Context, view *routeView, route string) error {
	open, err := s.opts.Store.Count(ctx, dlqstore.Filter{Route: route, State: dlqstore.Dead})
	if err != nil {
		return err
	}
	view.Open, view.OpenText = open, atMost(open)
	groups, err := s.opts.Store.Groups(ctx, dlqstore.Filter{Route: route, State: dlqstore.Dead}, shownCauses)
	if err != nil {
		return err
	}
	view.Causes, err = s.causeRows(ctx, groups)
	return err
}

// classes are the attempts of the last hour by what came back.
func classes(f fleet.Figures) []factView {
	list := []factView{}
	for class, n := range f.Classes {
		name := digits(class) + "xx"
		if class == fleet.NoAnswer {
			name = "no answer"
		}
		if n > 0 {
			list = append(list, factView{Name: name, Value: digits(n)})
		}
	}
	return list
}

func (s *Server) recentRow(a fleet.Attempt) recentRow {
	row := recentRow{
		At: s.moment(a.At), Subject: cut(visible(a.Subject), maxCell), Number: digits(a.Number), Took: took(a.Duration), Instance: cut(visible(a.Instance), 60),
		Detail: cut(visible(a.Error), maxCell), State: badge{"No answer", "bad", "cross"},
	}
	if a.Status != 0 {
		row.State.Word = statusText(a.Status)
	}
	if a.Delivered {
		row.State.Tone, row.State.Icon = "ok", "check"
	} else {
		row.ID, row.Path = a.ID, listOfDead+"?"+url.Values{"q": {a.ID}, "state": {stateAll}}.Encode()
	}
	return row
}

// pausePage makes a handler that pauses a route, or resumes it.
func (s *Server) pausePage(paused bool, done string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, err := s.setPaused(r, paused); err != nil {
			return err
		}
		s.goBack(w, r, done, "")
		return nil
	}
}

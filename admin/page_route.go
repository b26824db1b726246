package admin

import (
	"net/http"
)

type routeView struct {
	frame
	routeRow
	URL        string
	Consumer   string
	Delivered  string
	Failed     string
	Redelivery string
	Settings   []Setting
	CanPause   bool
	CanResume  bool
	Unhealthy  []string
}

func (s *Server) routePage(w http.ResponseWriter, r *http.Request) error {
	status, err := s.route(r.PathValue("name"))
	if err != nil {
		return err
	}
	view := routeView{
		frame: s.frame(r, status.Name, "overview"), routeRow: s.routeRow(status),
		URL: visible(status.URL), Consumer: visible(status.Consumer),
		Delivered: digits(status.Delivered), Failed: digits(status.Failed),
		Redelivery: digits(status.NumRedelivered),
	}
	view.CanPause = view.MayOperate && status.Enabled && status.State != StatePaused
	view.CanResume = view.MayOperate && status.State == StatePaused
	for _, setting := range status.Settings {
		view.Settings = append(view.Settings, Setting{setting.Name, visible(setting.Value)})
	}
	if status.Enabled {
		view.Unhealthy = s.limits.check(status)
	}
	// The figures of the route are worth showing while the database is down.
	if open, err := s.openLetters(r.Context(), status.Name); err == nil {
		view.Open, view.OpenText = open, digits(open)
	}
	view.Notice = noticeOf(r.URL.Query())
	return render(w, s.pages.route, http.StatusOK, view)
}

func (s *Server) pausePage(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.setPaused(r, true); err != nil {
		return err
	}
	s.goBack(w, r, "paused", "")
	return nil
}

func (s *Server) resumePage(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.setPaused(r, false); err != nil {
		return err
	}
	s.goBack(w, r, "resumed", "")
	return nil
}

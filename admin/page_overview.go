package admin

import (
	"context"
	"net/http"
	"strings"

	"relay/dlqstore"
)

type overviewView struct {
	frame
	Services []serviceView
	Routes   []routeRow
	Open     int // dead letters
	OpenText string
}

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
	view := overviewView{frame: s.frame(r, "Overview", "overview")}
	nats, database := s.checkServices(r.Context())
	view.Services = []serviceView{
		{"NATS", serviceBadge(nats, "Connected", "Disconnected"), visible(nats.Message)},
		{"Database", serviceBadge(database, "Reachable", "Unreachable"), visible(database.Message)},
	}
	if s.opts.Config != nil {
		view.Services = append(view.Services, s.configService())
	}
	for _, status := range s.opts.Routes.Routes() {
		row := s.routeRow(status)
		if database.OK {
			open, err := s.openLetters(r.Context(), status.Name)
			if err != nil {
				return err
			}
			row.Open, row.OpenText = open, digits(open)
			view.Open += open
		}
		view.Routes = append(view.Routes, row)
	}
	view.OpenText = digits(view.Open)
	if !database.OK {
		view.OpenText = "–"
	}
	return render(w, s.pages.overview, http.StatusOK, view)
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

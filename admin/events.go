package admin

import (
	"bytes"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"time"
)

// Bounds of the stream that keeps pages up to date.
const (
	liveEvery  = 2 * time.Second  // a page is drawn anew
	liveAtMost = 10 * time.Second // an unchanged one is sent all the same: a silent stream is a broken one
	liveFor    = 10 * time.Minute // the browser then asks again
	maxLive    = 64               // streams at a time; further browsers poll
)

const eventsPath = "/events"

// events sends the live part of a page whenever it has changed, as server-sent events,
// until the browser goes away, its session ends or relay stops.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	draw, view, err := s.livePart(r.URL.Query().Get("page"))
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return nil
	}
	select {
	case s.live <- struct{}{}:
		defer func() { <-s.live }()
	default:
		return &problem{http.StatusServiceUnavailable, "too_many_streams", "too many pages are kept up to date already", nil}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	rc := http.NewResponseController(w)
	tick, end := time.NewTicker(liveEvery), time.After(liveFor)
	defer tick.Stop()
	var last []byte
	var sent time.Time
	for {
		now, err := s.drawLive(r, draw, view)
		if err != nil {
			s.log.Debug("live page not drawn", "err", err) // the browser says that it is not live
		} else if !bytes.Equal(now, last) || time.Since(sent) >= liveAtMost {
			_ = rc.SetWriteDeadline(time.Now().Add(liveAtMost))
			event := bytes.ReplaceAll(now, []byte("\n"), []byte("\ndata: "))
			_, err := w.Write(slices.Concat([]byte("data: "), event, []byte("\n\n"))) //nolint:gosec // html/template made it
			if errors.Join(err, rc.Flush()) != nil {
				return nil // the browser went away
			}
			last, sent = now, time.Now()
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-s.closing:
			return nil
		case <-end:
			return nil
		case <-tick.C:
		}
		if c, err := s.identify(r); err != nil || c.role < viewer {
			return nil // who asked may not see it any more
		}
	}
}

// livePart is the template and the view of a page that is kept up to date.
func (s *Server) livePart(page string) (*template.Template, func(*http.Request) (any, error), error) {
	switch page {
	case "overview":
		return s.pages.overview, s.overviewView, nil
	case "replays":
		return s.pages.replays, s.replaysView, nil
	case "replay":
		return s.pages.job, s.liveJob, nil
	default:
		return nil, nil, badParameter("page", "overview, replays or replay wanted, got %q", visible(page))
	}
}

func (s *Server) drawLive(r *http.Request, t *template.Template, view func(*http.Request) (any, error)) ([]byte, error) {
	r, cancel := limitTime(r)
	defer cancel()
	v, err := view(r)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.ExecuteTemplate(&b, "live", v)
	return bytes.TrimSpace(b.Bytes()), err
}

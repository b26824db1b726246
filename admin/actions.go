package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"

	"relay/dlqstore"
)

var idPattern = regexp.MustCompile(`^msg_[a-z2-7]{26}$`)

// deadLetterID returns the id in the path. One that cannot be an id is not found; the
// database need not be asked.
func deadLetterID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	if !idPattern.MatchString(id) {
		return "", dlqstore.ErrNotFound
	}
	return id, nil
}

// replay starts the replay of a dead letter to the route that failed, and returns
// what is sent: of an edited replay, the copy.
func (s *Server) replay(ctx context.Context, id string, edit *dlqstore.Edit, by dlqstore.Actor) (dlqstore.Replay, error) {
	replay, err := s.opts.Store.StartReplay(ctx, id, edit, by)
	if err == nil {
		s.wakeReplays()
	}
	return replay, err
}

// republish sends a dead letter to its original subject and discards it: it has
// become a new message. The change of state comes first, so that of two requests one
// publishes; it is taken back when nothing was published.
func (s *Server) republish(ctx context.Context, id string, edit *dlqstore.Edit, by dlqstore.Actor) error {
	if s.opts.Republish == nil {
		return &problem{http.StatusNotImplemented, "not_supported", `this relay does not send to the original subject; "to": "route" is there`, nil}
	}
	d, err := s.opts.Store.Get(ctx, id)
	if err != nil {
		return err
	}
	reason := "sent to its original subject as a new message"
	if edit != nil {
		reason += fmt.Sprintf(", edited: the SHA-256 of its payload was %x and is %x", sha256.Sum256(d.Payload), sha256.Sum256(edit.Payload))
		d.Payload, d.Headers = edit.Payload, edit.Headers
	}
	if err := s.opts.Store.Discard(ctx, id, reason, by); err != nil {
		return err
	}
	if err := s.opts.Republish.Republish(ctx, d); err != nil {
		if undo := s.opts.Store.Restore(context.WithoutCancel(ctx), id, by); undo != nil {
			err = fmt.Errorf("%w; restore: %w", err, undo)
		}
		return &problem{http.StatusServiceUnavailable, "publish_failed", fmt.Sprintf("nothing was sent to %q: the stream did not take it", d.OriginalSubject), err}
	}
	return nil
}

// setPaused pauses or resumes a route and returns it as it then stands.
func (s *Server) setPaused(r *http.Request, paused bool) (RouteStatus, error) {
	name := r.PathValue("name")
	if _, err := s.route(name); err != nil {
		return RouteStatus{}, err
	}
	act, what := s.opts.Routes.Resume, "resumed"
	if paused {
		act, what = s.opts.Routes.Pause, "paused"
	}
	if err := act(r.Context(), name); err != nil {
		return RouteStatus{}, &problem{http.StatusServiceUnavailable, "route_unavailable",
			fmt.Sprintf("route %q was not %s: %v", name, what, err), err}
	}
	s.log.Info("route "+what, "route", name, "by", callerOf(r).name)
	return s.route(name)
}

func (s *Server) route(name string) (RouteStatus, error) {
	for _, r := range s.opts.Routes.Routes() {
		if r.Name == name {
			return r, nil
		}
	}
	return RouteStatus{}, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("there is no route %q", visible(name)), nil}
}

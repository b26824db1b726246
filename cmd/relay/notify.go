package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/routes"
)

const (
	// notifyEvery is how soon a change of a route is seen.
	notifyEvery = 3 * time.Second
	// newFor is how long a cause counts as new that nobody was told of.
	newFor = time.Hour
	// mostCauses is how many causes are looked at, the largest first, and knownCauses
	// how many a process knows by heart.
	mostCauses, knownCauses = 500, 10_000
)

// event is what is told, as the receiver gets it (docs/operations.md).
type event struct {
	Type        routes.Event `json:"type"`
	Of          routes.Event `json:"of,omitempty"` // with recovered: what is over
	Route       string       `json:"route"`
	At          time.Time    `json:"at"`
	Message     string       `json:"message"`
	DeadLetters int          `json:"dead_letters,omitempty"` // open ones of the route, or of the cause
	Fingerprint string       `json:"fingerprint,omitempty"`  // of the cause
	Sample      string       `json:"sample,omitempty"`       // id of a dead letter of the cause
	Instance    string       `json:"instance"`
}

// notifier sees changes of the routes and puts them on the stream of events, from where
// a route of their own brings them to whom it may concern. The last event of a subject
// is what was told last: who tells the next names it, so that of all relay processes
// one does.
type notifier struct {
	js     jetstream.JetStream
	config func() *routes.Config
	status func() []dispatcher.Status
	store  dlqstore.Store
	log    *slog.Logger

	told   map[string]told // by subject
	causes map[string]bool // subjects of those that somebody told of
}

// told is the last event of a subject. The zero value: there is none.
type told struct {
	event
	sequence uint64
}

func newNotifier(js jetstream.JetStream, config func() *routes.Config, status func() []dispatcher.Status, store dlqstore.Store, log *slog.Logger) *notifier {
	return &notifier{js: js, config: config, status: status, store: store, log: log, told: map[string]told{}, causes: map[string]bool{}}
}

// Run looks until ctx ends. What it cannot see or say now it tries again.
func (n *notifier) Run(ctx context.Context) error {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := n.look(ctx); err != nil && ctx.Err() == nil {
				n.log.Debug("changes of routes not told", "err", err)
			}
		}
	}
}

func (n *notifier) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*notifyEvery)
	defer cancel()
	wanted := map[string]*routes.Notify{}
	for _, r := range n.config().Routes {
		if r.Notify != nil && r.Enabled {
			wanted[r.Name] = r.Notify
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	var errs []error
	for _, s := range n.status() {
		if to := wanted[s.Route.Name]; to != nil {
			errs = append(errs, n.receiver(ctx, to, s))
		}
	}
	groups, err := n.store.Groups(ctx, dlqstore.Filter{State: dlqstore.Dead}, mostCauses)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	open := map[string]int{}
	for _, g := range groups {
		open[g.Route] += g.Count
		if to := wanted[g.Route]; to != nil && time.Since(g.FirstSeen) < newFor {
			errs = append(errs, n.cause(ctx, to, g))
		}
	}
	for name, to := range wanted {
		errs = append(errs, n.deadLetters(ctx, to, name, open[name]))
	}
	return errors.Join(errs...)
}

// receiver tells that a breaker opened, and that deliveries succeed again.
func (n *notifier) receiver(ctx context.Context, to *routes.Notify, s dispatcher.Status) error {
	subject := routes.EventsSubjectPrefix + s.Route.Name + ".receiver"
	last, err := n.last(ctx, subject)
	if err != nil {
		return err
	}
	switch down := last.Type == routes.BreakerOpen; {
	case !down && s.OpenedAt.After(last.At):
		return n.tell(ctx, to, subject, last, event{
			Type: routes.BreakerOpen, Route: s.Route.Name,
			Message: fmt.Sprintf("The receiver of route %s is down: %s. relay takes no more of its messages until it answers.", s.Route.Name, s.Reason),
		})
	case down && s.OpenedAt.IsZero() && s.DeliveredAt.After(last.At):
		return n.tell(ctx, to, subject, last, event{
			Type: routes.Recovered, Of: routes.BreakerOpen, Route: s.Route.Name,
			Message: fmt.Sprintf("The receiver of route %s takes messages again.", s.Route.Name),
		})
	}
	return nil
}

// deadLetters tells that a route has more open dead letters than it may have, and that
// it has no longer.
func (n *notifier) deadLetters(ctx context.Context, to *routes.Notify, route string, open int) error {
	subject := routes.EventsSubjectPrefix + route + ".dead_letters"
	last, err := n.last(ctx, subject)
	if err != nil {
		return err
	}
	switch above := last.Type == routes.DeadLettersAbove; {
	case !above && open > to.DeadLettersAbove:
		return n.tell(ctx, to, subject, last, event{
			Type: routes.DeadLettersAbove, Route: route, DeadLetters: open,
			Message: fmt.Sprintf("Route %s has %d open dead letters, more than %d.", route, open, to.DeadLettersAbove),
		})
	case above && open <= to.DeadLettersAbove:
		return n.tell(ctx, to, subject, last, event{
			Type: routes.Recovered, Of: routes.DeadLettersAbove, Route: route, DeadLetters: open,
			Message: fmt.Sprintf("Route %s has %d open dead letters, no more than %d.", route, open, to.DeadLettersAbove),
		})
	}
	return nil
}

// cause tells of a cause that nobody has told of.
func (n *notifier) cause(ctx context.Context, to *routes.Notify, g dlqstore.Group) error {
	subject := routes.EventsSubjectPrefix + g.Route + ".cause-" + g.Fingerprint
	if n.causes[subject] {
		return nil
	}
	err := n.tell(ctx, to, subject, told{}, event{
		Type: routes.NewCause, Route: g.Route, DeadLetters: g.Count, Fingerprint: g.Fingerprint, Sample: g.Sample,
		Message: fmt.Sprintf("Route %s has dead letters of a new cause: %s.", g.Route, g.Cause),
	})
	if err != nil {
		return err
	}
	delete(n.told, subject) // it is not asked for again
	if len(n.causes) >= knownCauses {
		clear(n.causes)
	}
	n.causes[subject] = true
	return nil
}

// last is what was told last of a subject, as far as this process knows.
func (n *notifier) last(ctx context.Context, subject string) (told, error) {
	if t, ok := n.told[subject]; ok {
		return t, nil
	}
	stream, err := n.js.Stream(ctx, routes.EventsStream)
	if err != nil {
		return told{}, fmt.Errorf("look at relay's stream %q: %w", routes.EventsStream, err)
	}
	var t told
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return told{}, fmt.Errorf("read the last event of %s: %w", subject, err)
	default:
		if err := json.Unmarshal(m.Data, &t.event); err != nil {
			return told{}, fmt.Errorf("read the last event of %s: %w", subject, err)
		}
		t.sequence = m.Sequence
	}
	n.told[subject] = t
	return t, nil
}

// tell puts an event after the last one, unless another process has told something
// since. An event that nobody wants is there all the same: the next one follows it.
func (n *notifier) tell(ctx context.Context, to *routes.Notify, subject string, last told, e event) error {
	e.At, e.Instance = time.Now().UTC(), instance()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	m := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{"Content-Type": {"application/json"}}}
	if to.Wants(e.Type) {
		m.Header.Set(routes.NotifyHeader, to.Via)
	}
	ack, err := n.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last.sequence))
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		delete(n.told, subject)
		return nil
	case err != nil:
		return fmt.Errorf("publish an event on %s: %w", subject, err)
	}
	n.told[subject] = told{e, ack.Sequence}
	return nil
}

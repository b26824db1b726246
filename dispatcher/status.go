package dispatcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"relay/dlqstore"
	"relay/internal/pull"
	"relay/routes"
)

// State is what a route is doing, in the words of the API and the page.
type State string

// The states of a route.
const (
	StateStarting      State = "starting"
	StateRunning       State = "running"
	StateDisabled      State = "disabled" // enabled: false in the file
	StatePaused        State = "paused"   // by an operator, in all processes
	StateWaiting       State = "waiting_for_stream"
	StateBreakerOpen   State = "breaker_open"
	StateMisconfigured State = "misconfigured" // its consumer cannot be used as it is
	StateNoDeadLetters State = "dead_letter_unavailable"
	StateOrphan        State = "orphan"     // its route has gone from the file, its consumer is there
	StateRecovering    State = "recovering" // JetStream did not do what was asked; relay tries again
)

// Status is how a route stands.
type Status struct {
	Route  routes.Route
	State  State
	Reason string // why, unless it is running
	// Figures of the live consumer over all processes, at most some seconds old.
	NumPending     uint64
	NumWaiting     int
	NumAckPending  int
	NumRedelivered int
	// Position is the stream sequence up to which every message of the route is settled.
	Position uint64
	// What this process did since it started.
	InFlight    int    // messages in hand
	Delivered   uint64 // messages delivered
	Failed      uint64 // attempts that failed
	LastError   string
	LastErrorAt time.Time
	DeliveredAt time.Time // of the last of Delivered
	OpenedAt    time.Time // while the breaker is open, since when; else zero
}

// Status of every route of the file, in file order, and of the orphans after them:
// routes of which there is only the consumer left, with its name, stream, durable and
// figures and nothing else.
func (d *Dispatcher) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	running := make(map[string]*runner, len(d.routes))
	for _, r := range d.routes {
		running[r.cfg.Name] = r
	}
	file := d.shared.file()
	out := make([]Status, 0, len(file.Routes)+len(d.orphans))
	for _, cfg := range file.Routes {
		if r, ok := running[cfg.Name]; ok {
			out = append(out, r.status())
		} else {
			out = append(out, Status{Route: cfg, State: StateDisabled})
		}
	}
	for _, o := range d.orphans {
		if o.Stream == dlqstore.ReplayStream {
			continue // it goes with the route's own
		}
		out = append(out, Status{
			Route: routes.Route{Name: o.Route, Stream: o.Stream, FilterSubjects: []string{}, Consumer: routes.Consumer{Durable: o.Consumer}},
			State: StateOrphan, Reason: "no route of the file names its consumer; relay plan --prune removes it",
			NumPending: o.NumPending, NumAckPending: o.NumAckPending,
		})
	}
	return out
}

func (r *route) status() Status {
	why, opened := r.gate.open()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{
		Route: r.cfg, State: StateRunning,
		NumPending: r.info.NumPending, NumWaiting: r.info.NumWaiting, NumAckPending: r.info.NumAckPending,
		NumRedelivered: r.info.NumRedelivered, Position: r.floor, InFlight: len(r.inFlight),
		Delivered: r.delivered, Failed: r.failed, LastError: r.lastError, LastErrorAt: r.lastErrorAt,
		DeliveredAt: r.deliveredAt, OpenedAt: opened,
	}
	var t *trouble
	// What keeps messages from being delivered comes first; then what keeps them in
	// their stream; and only then what keeps replays waiting.
	live := cmp.Or(r.laneTrouble[r.live], r.live.unheard())
	replays := cmp.Or(r.laneTrouble[r.replay], r.replay.unheard())
	switch {
	case !r.looked:
		s.State = StateStarting
	case errors.As(live, &t):
		s.State, s.Reason = t.state, t.text
	case live != nil:
		s.State, s.Reason = StateRecovering, live.Error()
	case r.deadTrouble != nil:
		s.State, s.Reason = StateNoDeadLetters, r.deadTrouble.Error()
	case replays != nil:
		s.State, s.Reason = StateRecovering, replays.Error()
	case r.info.Paused:
		s.State, s.Reason = StatePaused, "an operator paused it"
	case !opened.IsZero():
		s.State, s.Reason = StateBreakerOpen, why
	}
	return s
}

// Recent is one of the last attempts of a route.
type Recent struct {
	At        time.Time // of its end
	ID        string    // of the delivery
	Subject   string
	Attempt   int
	Status    int // 0: there was no answer
	Error     string
	Duration  time.Duration
	Delivered bool
}

// recentAttempts is how many of them a route keeps.
const recentAttempts = 50

// Recent are the last attempts that this process made on a route, the newest first.
func (d *Dispatcher) Recent(name string) []Recent {
	for _, r := range d.running() {
		if r.cfg.Name == name {
			return r.recentAttempts()
		}
	}
	return nil
}

func (r *route) recentAttempts() []Recent {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Concat(r.recent[r.oldest:], r.recent[:r.oldest])
	slices.Reverse(list)
	return list
}

// ErrNoRoute says that no enabled route has the name asked for.
var ErrNoRoute = errors.New("no such enabled route")

// pausedFor is how long a pause lasts that nobody ends: in effect for ever.
const pausedFor = 100 * 365 * 24 * time.Hour

// Pause stops a route in all relay processes, its replays too, until Resume.
// Attempts under way finish. Errors: ErrNoRoute, or JetStream's.
func (d *Dispatcher) Pause(ctx context.Context, name string) error {
	return d.pauseUntil(ctx, name, time.Now().Add(pausedFor))
}

// Resume ends a pause; on a route that is not paused it does nothing.
// Errors: ErrNoRoute, or JetStream's.
func (d *Dispatcher) Resume(ctx context.Context, name string) error {
	return d.pauseUntil(ctx, name, time.Time{})
}

func (d *Dispatcher) pauseUntil(ctx context.Context, name string, until time.Time) error {
	for _, r := range d.running() {
		if r.cfg.Name != name {
			continue
		}
		for _, l := range []*lane{r.live, r.replay} {
			var err error
			if until.IsZero() {
				_, err = d.shared.js.ResumeConsumer(ctx, l.stream, l.consumer)
			} else {
				_, err = d.shared.js.PauseConsumer(ctx, l.stream, l.consumer, until)
			}
			if err != nil {
				return fmt.Errorf("pause or resume consumer %q of stream %q: %w", l.consumer, l.stream, err)
			}
			if until.IsZero() {
				_ = pull.Nudge(d.shared.conn, l.stream, l.consumer) // without it, it goes on some seconds later
			}
		}
		r.poll(ctx)
		return nil
	}
	return ErrNoRoute
}

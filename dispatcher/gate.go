package dispatcher

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"relay/internal/webhook"
	"relay/routes"
)

// gate is what an attempt passes before it goes out: the concurrency, the breaker and
// the rate limit of its route. Messages of both lanes of a route pass the same gate.
type gate struct {
	full    int // the route's concurrency
	ramp    bool
	openFor time.Duration
	limiter *rate.Limiter // nil: no limit
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	force   atomic.Bool // the next failure opens the breaker, whatever the count
	// resized is told how many messages are worth having in hand; 0 while open.
	resized func(n int)

	mu      sync.Mutex
	limit   int // attempts that may be under way
	active  int
	streak  int // successes since the limit last grew
	waiting int
	changed chan struct{} // closed, and replaced, when those who wait should look again
	probe   *time.Timer   // while open: runs at reopens
	reopens time.Time     // while open: when one attempt may probe the receiver
	why     string        // while open: what opened it
	opened  time.Time     // while open: since when, probes that failed notwithstanding
	probed  int           // probes that failed
}

// trippedFor is how long an obstacle on relay's own side holds a route that has no
// breaker configured.
const trippedFor = 30 * time.Second

var (
	errFault = errors.New("the attempt failed")
	// errStillDown says that a probe failed while a message waited for its turn.
	errStillDown = errors.New("the receiver is still down")
)

func newGate(r routes.Route, resized func(n int)) *gate {
	g := &gate{
		full: r.Concurrency, limit: r.Concurrency, ramp: r.Breaker.Ramp, openFor: r.Breaker.OpenFor,
		resized: resized, changed: make(chan struct{}),
	}
	if r.RateLimit.PerSecond > 0 {
		g.limiter = rate.NewLimiter(rate.Limit(r.RateLimit.PerSecond), max(1, r.RateLimit.Burst))
	}
	trip := r.Breaker.ConsecutiveFailures
	if trip == 0 {
		g.openFor = trippedFor
	}
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     g.openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return g.force.Load() || trip > 0 && int(c.ConsecutiveFailures) >= trip
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { g.turned(to) },
	})
	return g
}

// enter waits until the attempt may go and returns the function that takes its
// answer. It fails when ctx ends, and with errStillDown: what waits is then better in
// the stream, for another process may reach the receiver.
func (g *gate) enter(ctx context.Context) (leave func(webhook.Answer), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err // a message that waited for its turn is not begun any more
	}
	if err := g.take(ctx); err != nil {
		return nil, err
	}
	done, err := g.breaker.Allow()
	for err != nil {
		if err := sleep(ctx, g.untilProbe()); err != nil {
			g.give()
			return nil, err
		}
		done, err = g.breaker.Allow()
	}
	if g.limiter != nil {
		if err := g.limiter.Wait(ctx); err != nil {
			done(nil)
			g.give()
			return nil, err
		}
	}
	return func(a webhook.Answer) { g.leave(done, a) }, nil
}

// take waits for one of the places.
func (g *gate) take(ctx context.Context) error {
	g.mu.Lock()
	for probed := g.probed; g.active >= g.limit; {
		changed := g.changed
		g.waiting++
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		g.waiting--
		err := ctx.Err()
		if err == nil && g.probed != probed {
			err = errStillDown
		}
		if err != nil {
			g.mu.Unlock()
			return err
		}
	}
	g.active++
	g.mu.Unlock()
	return nil
}

func (g *gate) give() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	g.wake()
}

// leave gives the place back and lets the answer speak for or against the receiver.
func (g *gate) leave(done func(error), a webhook.Answer) {
	fault := endpointFault(a)
	if fault {
		g.mu.Lock()
		g.why = faultText(a)
		g.mu.Unlock()
	}
	switch {
	case heldBack(a):
		g.force.Store(true)
		done(errFault)
		g.force.Store(false)
	case fault:
		done(errFault)
	default:
		done(nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	if !fault {
		g.grow()
	}
	g.wake()
}

// turned follows the breaker. It is called with the breaker's lock held, so nothing
// under g.mu may call the breaker.
func (g *gate) turned(to gobreaker.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch to {
	case gobreaker.StateOpen:
		// One place stays: its holder is the one that probes.
		g.limit, g.streak = 1, 0
		g.reopens = time.Now().Add(g.openFor)
		if g.opened.IsZero() {
			g.opened = time.Now()
		} else {
			g.probed++
			g.wake()
		}
		g.resized(0)
		g.probe = time.AfterFunc(g.openFor, func() { g.resized(1) })
	case gobreaker.StateHalfOpen:
		g.resized(1)
	case gobreaker.StateClosed:
		g.reopens, g.opened, g.why = time.Time{}, time.Time{}, ""
		if !g.ramp {
			g.limit = g.full
		}
		g.resized(g.limit)
		g.wake()
	}
}

// grow doubles the limit after as many successes as it allows at once, so that a
// receiver that has just come back is not met by a herd. The lock is held.
func (g *gate) grow() {
	if g.limit >= g.full || !g.reopens.IsZero() {
		return
	}
	if g.streak++; g.streak >= g.limit {
		g.limit, g.streak = min(2*g.limit, g.full), 0
		g.resized(g.limit)
	}
}

// wake lets those who wait look again. The lock is held.
func (g *gate) wake() {
	if g.waiting > 0 {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

func (g *gate) untilProbe() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(time.Until(g.reopens), time.Millisecond)
}

// open says since when the breaker is open, and what opened it; zero: it is not.
func (g *gate) open() (why string, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why, g.opened
}

// close stops the timer of an open breaker.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probe != nil {
		g.probe.Stop()
	}
}

func faultText(a webhook.Answer) string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return answered(a.Status)
}

// sleep waits for d, or for ctx to end and returns its error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package dispatcher

import (
	"math/bits"
	"sync"
	"time"

	"relay/internal/pull"
	"relay/routes"
)

const (
	// readAheadFor is the work, at the receiver's pace, that lies at hand beside what is
	// under way.
	readAheadFor = 100 * time.Millisecond
	// mostAhead bounds it in messages: more gain nothing (measured).
	mostAhead = 32
)

// readAhead says how many messages to have in hand beside those under way. A receiver
// that answers sooner than a pull takes would else wait for each message; with a slow
// one nothing lies here that another process could begin with (docs/decisions/0013-reading-ahead.md).
type readAhead struct {
	off bool

	mu    sync.Mutex
	pace  time.Duration // of the last attempts, a moving average
	under int           // messages that may be under way; 0 while the breaker is open
	ahead int
}

// newReadAhead reads nothing ahead for a route whose messages have one attempt, which a
// crash would cost those that only lay here; nor where something else sets the pace.
func newReadAhead(r routes.Route) *readAhead {
	return &readAhead{
		off:  r.Retry.MaxAttempts == 1 || r.RateLimit.PerSecond > 0,
		pace: time.Second, // until it is known
	}
}

// resize lets so many be under way, and the puller have in hand what that takes.
func (a *readAhead) resize(under int, p *pull.Puller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.under = under
	a.setLimit(p)
}

// saw notes how long an attempt took, and what the puller is to have in hand if that
// changes it.
func (a *readAhead) saw(took time.Duration, p *pull.Puller) {
	if a.off {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pace += (took - a.pace) / 16
	ahead := min(mostAhead, int(time.Duration(a.under)*readAheadFor/max(a.pace, time.Microsecond)))
	ahead = 1 << bits.Len(uint(ahead)) >> 1 // in steps, so that it comes to rest
	if ahead != a.ahead && a.under > 0 {
		a.ahead = ahead
		a.setLimit(p)
	}
}

// setLimit is called with the lock held: of two changes the later one has to be the last
// that the puller hears of, or an open breaker would pull.
func (a *readAhead) setLimit(p *pull.Puller) {
	if a.under == 0 {
		p.SetLimit(0)
		return
	}
	p.SetLimits(a.under, a.ahead)
}

package dispatcher

import (
	"math/bits"
	"sync"
	"time"

	"relay/routes"
)

const (
	// readAheadFor is the work, at the receiver's pace, that lies at hand beside what is
	// under way.
	readAheadFor = 50 * time.Millisecond
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

// resize notes how many may be under way and returns how many to have in hand.
func (a *readAhead) resize(under int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.under = under
	if under == 0 {
		return 0
	}
	return under + a.ahead
}

// saw notes how long an attempt took, and returns how many to have in hand if that
// changes it.
func (a *readAhead) saw(took time.Duration) (inHand int, changed bool) {
	if a.off {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pace += (took - a.pace) / 16
	ahead := min(mostAhead, int(time.Duration(a.under)*readAheadFor/max(a.pace, time.Microsecond)))
	ahead = 1 << bits.Len(uint(ahead)) >> 1 // in steps, so that it comes to rest
	if ahead == a.ahead || a.under == 0 {
		return 0, false
	}
	a.ahead = ahead
	return a.under + ahead, true
}

// pace lets the time that an attempt took say how many messages to have in hand.
func (r *route) pace(took time.Duration) {
	if n, changed := r.ahead.saw(took); changed {
		r.live.puller.SetLimit(n)
	}
}

package dispatcher

import (
	"math"
	"sync"
	"time"

	"relay/routes"
)

// backlog knows how long a route takes for what waits, so that retries can leave half
// of its attempts to messages that were never tried.
type backlog struct {
	each   time.Duration // that a rate limit leaves a message at least
	places int           // messages at once; 0 with strict order, where all others wait for the retry

	mu    sync.Mutex
	seen  int           // messages that pace is the mean of, at most paceOver
	pace  time.Duration // that a message has its place, from its request to its settling
	again int           // messages that were given back for a retry and have not come yet
}

// paceOver is how many messages the pace is taken from: enough to tell nothing of a
// moment in which the machine did something else.
const paceOver = 256

func newBacklog(r routes.Route) *backlog {
	b := &backlog{places: r.Concurrency}
	if r.RateLimit.PerSecond > 0 {
		b.each = time.Duration(float64(time.Second) / r.RateLimit.PerSecond)
	}
	if r.Order == routes.OrderStrict {
		b.places = 0
	}
	return b
}

// saw notes how long a message that was sent had its place, and whether it comes again.
func (b *backlog) saw(took time.Duration, out Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = min(b.seen+1, paceOver)
	b.pace += (took - b.pace) / time.Duration(b.seen)
	if out.Verdict == routes.Nak {
		b.again++
	}
}

// cameAgain notes a message that was delivered before, by this process or another one:
// over a group of processes these even out.
func (b *backlog) cameAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = max(0, b.again-1)
}

// atMost corrects the count of messages that wait for their retry by what the server
// says of those that are not settled.
func (b *backlog) atMost(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = min(b.again, n)
}

// behind is the delay of a retry while so many messages wait that were never tried:
// twice what they and the retries that wait already take. Retries delayed so come at
// half of the route's pace at most.
func (b *backlog) behind(untried uint64) time.Duration {
	if untried == 0 || b.places == 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	each := max(float64(b.pace)/float64(b.places), float64(b.each))
	return time.Duration(min(2*each*(float64(untried)+float64(b.again)), math.MaxInt64/2))
}

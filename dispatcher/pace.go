package dispatcher

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// companyLasts is how long a route counts as having company after another one's attempt.
const companyLasts = time.Second

// defaultFailures is Options.FailuresPerSecond when it is not set. 10,000 messages that a
// receiver refuses are through in 5 s, and those behind them wait no longer.
func defaultFailures() int { return max(2000, 1000*runtime.GOMAXPROCS(0)) }

// company knows whether more than one route delivers at the moment.
type company struct {
	born time.Time            // what met counts from: no wall clock, which may be set back
	last atomic.Pointer[pace] // of the route that made the last attempt
	met  atomic.Int64         // when another route's came before it; 0: never
}

// pace keeps a route's failures from crowding out what other routes deliver. Alone, or
// while its receiver takes what it gets, a route goes as fast as it can
// (docs/decisions/0016-failures-are-paced.md).
type pace struct {
	company  *company
	failures *rate.Limiter
}

func newPace(c *company, failuresPerSecond int) *pace {
	return &pace{company: c, failures: rate.NewLimiter(rate.Limit(failuresPerSecond), 1)}
}

// attempted notes that an attempt of the route begins.
func (p *pace) attempted(at time.Time) {
	if p.company.last.Load() != p && p.company.last.Swap(p) != nil {
		p.company.met.Store(int64(at.Sub(p.company.born)))
	}
}

// failed returns when another message may have the place of one that failed, or when
// ctx ends.
func (p *pace) failed(ctx context.Context) {
	met := time.Duration(p.company.met.Load())
	if met > 0 && time.Since(p.company.born)-met < companyLasts {
		_ = p.failures.Wait(ctx) // what ends ctx ends the route, too
	}
}

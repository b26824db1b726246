package routes

import (
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Delay is the time to wait after the failed attempt of that number, counted from 1;
// a smaller number counts as 1. random, from 0 to below 1, places the delay within
// its jitter. It is never negative; of the zero Retry it is 0.
func (r Retry) Delay(attempt int, random float64) time.Duration {
	if n := len(r.Schedule); n > 0 {
		return r.Schedule[min(max(attempt, 1), n)-1]
	}
	interval := r.Backoff.interval(attempt)
	spread := r.Backoff.Jitter * float64(interval)
	delay := float64(interval)
	if spread > 0 {
		// The formula of backoff.ExponentialBackOff, with our own random number: the
		// last nanosecond of the range is as likely as every other.
		delay += -spread + random*(2*spread+1)
	}
	if delay >= float64(r.Backoff.Max) {
		return r.Backoff.Max
	}
	return time.Duration(max(delay, 0))
}

// Horizon is the time from the first attempt to the last of max_attempts when every
// delay is that before jitter. It stops at 292 years, the longest time.Duration.
func (r Retry) Horizon() time.Duration {
	ladder := r.Backoff.ladder()
	var total, delay time.Duration
	for attempt := 1; attempt < r.MaxAttempts; attempt++ {
		before := delay
		if n := len(r.Schedule); n > 0 {
			delay = r.Schedule[min(attempt, n)-1]
		} else {
			delay = min(ladder.NextBackOff(), r.Backoff.Max)
		}
		rest := int64(r.MaxAttempts - attempt)
		if delay == before && attempt > len(r.Schedule) {
			// From here on nothing changes.
			if delay > 0 && rest > (math.MaxInt64-int64(total))/int64(delay) {
				return math.MaxInt64
			}
			return total + time.Duration(rest)*delay
		}
		if delay > math.MaxInt64-total {
			return math.MaxInt64
		}
		total += delay
	}
	return total
}

// interval is the delay before jitter. It stops climbing the library's ladder at
// the first step that changes nothing, so that a high attempt costs no more.
func (b Backoff) interval(attempt int) time.Duration {
	ladder := b.ladder()
	interval := ladder.NextBackOff()
	for n := 1; n < attempt; n++ {
		next := ladder.NextBackOff()
		if next == interval {
			break
		}
		interval = next
	}
	return interval
}

func (b Backoff) ladder() backoff.ExponentialBackOff {
	ladder := backoff.ExponentialBackOff{
		InitialInterval: b.Initial,
		Multiplier:      b.Multiplier,
		MaxInterval:     b.Max,
		Clock:           backoff.SystemClock,
	}
	ladder.Reset()
	return ladder
}

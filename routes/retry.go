package routes

import (
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

// interval is the delay before jitter. It stops climbing the library's ladder at
// the first step that changes nothing, so that a high attempt costs no more.
func (b Backoff) interval(attempt int) time.Duration {
	ladder := backoff.ExponentialBackOff{
		InitialInterval: b.Initial,
		Multiplier:      b.Multiplier,
		MaxInterval:     b.Max,
		Clock:           backoff.SystemClock,
	}
	ladder.Reset()
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

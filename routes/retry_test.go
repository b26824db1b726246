package routes_test

import (
	"math"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"pgregory.net/rapid"

	"relay/routes"
)

func TestDelay(t *testing.T) {
	doubling := routes.Retry{Backoff: routes.Backoff{Initial: time.Second, Multiplier: 2, Max: 10 * time.Minute}}
	jittered := routes.Retry{Backoff: routes.Backoff{Initial: 10 * time.Second, Multiplier: 2, Max: time.Minute, Jitter: 0.5}}
	schedule := routes.Retry{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute}, Backoff: doubling.Backoff}
	for _, c := range []struct {
		name    string
		retry   routes.Retry
		attempt int
		random  float64
		want    time.Duration
	}{
		{"first", doubling, 1, 0.9, time.Second},
		{"fourth", doubling, 4, 0.9, 8 * time.Second},
		{"at the maximum", doubling, 11, 0.9, 10 * time.Minute},
		{"a millionth", doubling, 1_000_000, 0.9, 10 * time.Minute},
		{"before the first", doubling, 0, 0.9, time.Second},
		{"least jitter", jittered, 1, 0, 5 * time.Second},
		{"middle of the jitter", jittered, 2, 0.5, 20 * time.Second},
		{"most jitter is clamped", jittered, 9, 0.999, time.Minute},
		{"least jitter at the maximum", jittered, 9, 0, 30 * time.Second},
		{"schedule", schedule, 2, 0.9, 5 * time.Minute},
		{"the last of a schedule repeats", schedule, 1_000_000, 0.9, 30 * time.Minute},
		{"schedule before the first", schedule, -1, 0.9, 5 * time.Second},
		{"zero value", routes.Retry{}, 3, 0.9, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.retry.Delay(c.attempt, c.random); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestHorizon(t *testing.T) {
	doubling := routes.Backoff{Initial: time.Second, Multiplier: 2, Max: 10 * time.Second, Jitter: 0.5}
	schedule := []time.Duration{time.Second, time.Minute}
	for _, c := range []struct {
		name  string
		retry routes.Retry
		want  time.Duration
	}{
		{"one attempt has no delay", routes.Retry{MaxAttempts: 1, Backoff: doubling}, 0},
		{"doubling", routes.Retry{MaxAttempts: 4, Backoff: doubling}, 7 * time.Second},
		{"doubling up to the maximum", routes.Retry{MaxAttempts: 8, Backoff: doubling}, 45 * time.Second},
		{"within a schedule", routes.Retry{MaxAttempts: 2, Schedule: schedule}, time.Second},
		{"beyond a schedule", routes.Retry{MaxAttempts: 5, Schedule: schedule}, 3*time.Minute + time.Second},
		{"a schedule that begins level", routes.Retry{MaxAttempts: 4, Schedule: []time.Duration{1, 1, 5}}, 7},
		{"longer than a duration", routes.Retry{MaxAttempts: 1_000_000, Schedule: []time.Duration{720 * time.Hour}}, math.MaxInt64},
		{"zero value", routes.Retry{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.retry.Horizon(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func drawRetry(t *rapid.T) routes.Retry {
	initial := rapid.Int64Range(int64(time.Millisecond), int64(30*24*time.Hour)).Draw(t, "initial")
	return routes.Retry{Backoff: routes.Backoff{
		Initial:    time.Duration(initial),
		Multiplier: rapid.Float64Range(1, 100).Draw(t, "multiplier"),
		Max:        time.Duration(rapid.Int64Range(initial, int64(30*24*time.Hour)).Draw(t, "max")),
		Jitter:     rapid.Float64Range(0, 1).Draw(t, "jitter"),
	}}
}

func TestDelayStaysWithinItsJitterAndBelowItsMaximum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRetry(t)
		attempt := rapid.IntRange(-1, 1_000_000).Draw(t, "attempt")
		random := rapid.Float64Range(0, 0.9999999).Draw(t, "random")
		got := r.Delay(attempt, random)
		if got < 0 || got > r.Backoff.Max {
			t.Fatalf("got %v, want 0 to %v", got, r.Backoff.Max)
		}
		least := time.Duration(float64(r.Backoff.Initial) * (1 - r.Backoff.Jitter) * 0.999999)
		if got < least {
			t.Fatalf("got %v, want at least %v", got, least)
		}
		if later := r.Delay(attempt+1, random); later < got-1 {
			t.Fatalf("attempt %d waits %v, the one before %v", attempt+1, later, got)
		}
	})
}

// Without jitter the delays are those of the backoff library, step by step.
func TestDelayIsTheLibrarysWithoutJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRetry(t)
		r.Backoff.Jitter = 0
		library := backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(r.Backoff.Initial),
			backoff.WithMultiplier(r.Backoff.Multiplier),
			backoff.WithMaxInterval(r.Backoff.Max),
			backoff.WithRandomizationFactor(0),
			backoff.WithMaxElapsedTime(0),
		)
		for attempt := 1; attempt <= 50; attempt++ {
			want := library.NextBackOff()
			if got := r.Delay(attempt, 0.5); got != want {
				t.Fatalf("attempt %d: got %v, want %v", attempt, got, want)
			}
		}
	})
}

func TestDelayAllocatesNothing(t *testing.T) {
	r := routes.Retry{Backoff: routes.Backoff{Initial: time.Second, Multiplier: 2, Max: time.Hour, Jitter: 0.2}}
	if n := testing.AllocsPerRun(100, func() { r.Delay(8, 0.5) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

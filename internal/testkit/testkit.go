// Package testkit starts what tests need, for real: NATS with JetStream in process,
// Postgres from the machine's own binaries, receivers, a browser. Everything listens on
// 127.0.0.1 and ends with the test that started it.
//
// Only tests import it. What a machine lacks fails the test with the command that mends
// it; nothing is skipped.
package testkit

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long the helpers wait for something that must happen. Machines are
// small and noisy: it bounds a hang, it measures nothing.
const patience = 30 * time.Second

// Eventually waits until cond is true. After 30 seconds it fails the test with what,
// formatted with args: say what was awaited.
func Eventually(t testing.TB, cond func() bool, what string, args ...any) {
	t.Helper()
	if !within(patience, cond) {
		t.Fatalf("not within %s: %s", patience, fmt.Sprintf(what, args...))
	}
}

// within polls cond until it is true or d has passed, and says which.
func within(d time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// Leaks fails the test if it ends with goroutines that it did not begin with. Call it
// first: what is started after it must have ended by then.
func Leaks(t testing.TB) {
	t.Helper()
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		goleak.VerifyNone(t, running)
	})
}

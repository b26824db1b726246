package dispatcher_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/internal/testkit"
)

// fastThenStuck answers the first messages at once and the next one never, until the
// test lets it.
func fastThenStuck(t *testing.T, fast int) (r *testkit.Receiver, stuck, release chan struct{}) {
	t.Helper()
	stuck, release = make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	n := 0
	r = testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) {
		mu.Lock()
		n++
		last := n == fast+1
		mu.Unlock()
		if last {
			close(stuck)
			<-release
		}
	})
	return r, stuck, release
}

// backlog stores so many messages before relay runs.
func (h *house) backlog(messages int) {
	h.t.Helper()
	if _, err := h.js.CreateStream(h.t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		h.t.Fatal(err)
	}
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
}

const aheadRoute = `
version: 1
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: 1
    webhook: { url: "%s", timeout: 20s }
    %s
`

// With a receiver that answers fast, some messages lie at hand before their turn, and
// come one at a time notwithstanding. On a stop they go back with their attempts
// unburnt.
func TestReadsAhead(t *testing.T) {
	const fast, messages = 300, 400
	h := newHouse(t)
	r, stuck, release := fastThenStuck(t, fast)
	c := config(t, aheadRoute, r.URL, "")
	h.backlog(messages)
	d := h.start(c)
	<-stuck
	testkit.Eventually(t, func() bool { return d.Status()[0].InFlight > 1 }, "messages at hand beside the one under way")
	if n := d.Status()[0].InFlight; n > 1+32 {
		t.Errorf("%d messages in hand, want at most 32 beside the one under way", n)
	}
	if n := len(r.Requests()); n != fast+1 {
		t.Errorf("%d requests, want %d: the one under way is the only one", n, fast+1)
	}
	stopped := make(chan struct{})
	go func() { d.stop(); close(stopped) }()
	h.awaitNoRequests("ORDERS", "relay-billing")
	close(release)
	<-stopped
	before := len(r.Requests())
	if before != fast+1 {
		t.Errorf("%d requests were made during the stop, want none", before-fast-1)
	}
	h.start(c)
	for i, q := range r.Wait(t, messages) {
		if n := q.Header.Get("Relay-Attempt"); n != "1" {
			t.Errorf("request %d came as attempt %s, want 1", i, n)
		}
	}
}

// Where something else sets the pace, or a crash would cost a message its one attempt,
// nothing lies at hand.
func TestReadsNothingAhead(t *testing.T) {
	for name, keys := range map[string]string{
		"one attempt": "retry: { max_attempts: 1 }",
		"strict":      "order: strict",
		"rate limit":  "rate_limit: { per_second: 100000, burst: 1000 }",
	} {
		t.Run(name, func(t *testing.T) {
			const fast = 300
			h := newHouse(t)
			r, stuck, release := fastThenStuck(t, fast)
			defer close(release)
			h.backlog(fast + 100)
			h.start(config(t, aheadRoute, r.URL, keys))
			<-stuck
			c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
			if err != nil {
				t.Fatal(err)
			}
			if n := c.CachedInfo().NumAckPending; n != 1 {
				t.Errorf("%d messages are out, want the one under way", n)
			}
		})
	}
}

// A process that cannot reach the receiver gives back what waits there, once that is
// sure: another one may reach it.
func TestGivesBackWhatWaitsAtAnOpenBreaker(t *testing.T) {
	const waiting = 12
	const route = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: 16
    webhook: { url: "%s" }
    circuit_breaker: { consecutive_failures: 1, open_for: 1s }
    retry: { max_attempts: 20, backoff: { initial: 10ms, max: 50ms } }
`
	h := newHouse(t)
	down, up := testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable)), testkit.NewReceiver(t, nil)
	cut := h.start(config(t, route, down.URL))
	h.publish("orders.created", "opens it")
	testkit.Eventually(t, func() bool { return cut.Status()[0].State == dispatcher.StateBreakerOpen }, "the breaker to open")
	for i := range waiting { // the server has a request for them already
		h.publish("orders.created", fmt.Sprint(i))
	}
	testkit.Eventually(t, func() bool { return cut.Status()[0].InFlight >= waiting }, "messages to wait at the breaker")
	h.start(config(t, route, up.URL))
	up.Wait(t, 1+waiting)
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(down.Requests()); n > waiting/2 {
		t.Errorf("%d attempts were made where the receiver cannot be reached, want the probes alone", n)
	}
}

// Messages that the receiver has something against, and only for now, do not keep the
// next one waiting through all of their retries.
func TestRetriesGoBehindWhatWasNeverTried(t *testing.T) {
	const failing = 2000
	h := newHouse(t)
	var mu sync.Mutex
	refused, before := 0, -1
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		mu.Lock()
		defer mu.Unlock()
		if string(q.Body) == "healthy" {
			before = refused
			return
		}
		refused++
		w.WriteHeader(http.StatusConflict)
	})
	c := config(t, aheadRoute, r.URL, "retry: { max_attempts: 1000, backoff: { initial: 1ms } }")
	h.backlog(failing)
	h.publish("orders.created", "healthy")
	h.start(c)
	testkit.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return before >= 0 }, "the healthy message")
	if before < failing || before > failing*5/4 {
		t.Errorf("%d failed attempts came before the healthy message, which %d messages stood before", before, failing)
	}
}

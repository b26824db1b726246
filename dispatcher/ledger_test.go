package dispatcher_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
	"relay/routes"
)

const slowRoute = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    webhook: { url: "%s/hook", timeout: 1s }
    circuit_breaker: { consecutive_failures: 1000 }
    rate_limit: { per_second: %s, burst: 1 }
    retry: { max_attempts: %d, backoff: { initial: 10ms, max: 50ms } }
`

// slow is slowRoute with an ack_wait below what a file may say: a message whose relay
// died comes again soon.
func slow(t *testing.T, args ...any) *routes.Config {
	t.Helper()
	c := config(t, slowRoute, args...)
	c.Routes[0].Consumer.AckWait = 2 * time.Second
	return c
}

// What waits for its turn when relay stops has made no request, however often that
// happens: it comes back with its attempts unburnt.
func TestStoppingBurnsNoAttempt(t *testing.T) {
	const messages, stops = 8, 4
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	limited := slow(t, r.URL, "0.001", 2)
	for stop := range stops {
		d := h.start(limited)
		for i := 0; stop == 0 && i < messages; i++ {
			h.publish("orders.created", string(rune('a'+i)))
		}
		// One a life passes the limit; the rest is given back.
		r.Wait(t, stop+1)
		testkit.Eventually(t, func() bool { return d.Status()[0].InFlight == messages-stop-1 }, "the others to be in hand")
		d.stop()
	}
	h.start(slow(t, r.URL, "1000", 2))
	for _, q := range r.Wait(t, messages) {
		if n := q.Header.Get("Relay-Attempt"); n != "1" {
			t.Errorf("message %q came with attempt %s, want 1", q.Body, n)
		}
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) > 0 || len(r.Requests()) != messages {
		t.Errorf("got %d requests and %d dead letters, want %d and none", len(r.Requests()), len(dead), messages)
	}
}

// A message in whose hand relay dies three times is a dead letter; the process that
// follows does not try it again.
func TestDeadLettersAMessageThatKillsThreeTimes(t *testing.T) {
	h := newHouse(t)
	var victim atomic.Pointer[nats.Conn]
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if string(q.Body) == "poison" {
			victim.Load().Close() // in place of a death: nothing is heard of it any more
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := slow(t, r.URL, "1000", 8)
	life := func() *running {
		nc := h.nats.Conn(t)
		victim.Store(nc)
		return h.start(c, func(o *dispatcher.Options) { o.Conn = nc })
	}
	d := life()
	h.publish("orders.created", "poison")
	for n := 1; n <= 3; n++ {
		r.Wait(t, n)
		d.stop()
		d = life()
	}
	dead := h.awaitDead(1)[0]
	if dead.Reason != dlqstore.Poison || dead.RetryCount != 3 {
		t.Errorf("got reason %s after %d attempts, want poison after 3", dead.Reason, dead.RetryCount)
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(r.Requests()); n != 3 {
		t.Errorf("got %d requests, want 3", n)
	}
}

// Messages that relay had in hand when it died twice go one at a time, so that a third
// death tells which of them it was.
func TestSuspectsGoAlone(t *testing.T) {
	const suspects = 4
	h := newHouse(t)
	var active, together atomic.Int64
	came := make(chan struct{}, suspects)
	var died atomic.Pointer[chan struct{}]
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if q.Header.Get("Relay-Attempt") != "3" {
			came <- struct{}{}
			<-*died.Load()
			w.WriteHeader(http.StatusServiceUnavailable) // nothing is heard of it any more
			return
		}
		if active.Add(1) > 1 {
			together.Add(1)
		}
		<-time.After(20 * time.Millisecond) // for others to come beside it
		active.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	})
	c := slow(t, r.URL, "1000", 8)
	c.Routes[0].Webhook.Timeout = time.Minute
	for life := range 2 {
		death := make(chan struct{})
		died.Store(&death)
		nc := h.nats.Conn(t)
		d := h.start(c, func(o *dispatcher.Options) { o.Conn = nc })
		for i := 0; life == 0 && i < suspects; i++ {
			h.publish("orders.created", "x")
		}
		for range suspects {
			<-came
		}
		nc.Close()
		close(death)
		d.stop()
	}
	h.start(c)
	r.Wait(t, 3*suspects)
	h.awaitSettled("ORDERS", "relay-billing")
	if n := together.Load(); n > 0 {
		t.Errorf("%d suspects went beside another", n)
	}
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) > 0 {
		t.Errorf("%d dead letters, want none", len(dead))
	}
}

// Failures that each process lives to tell are attempts and nothing else, whichever
// process makes them.
func TestFailingInTurnsIsNoPoison(t *testing.T) {
	const attempts = 12
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(503))
	c := slow(t, r.URL, "1000", attempts)
	h.start(c)
	h.start(c)
	for range 5 {
		h.publish("orders.created", "x")
	}
	for _, dead := range h.awaitDead(5) {
		if dead.Reason != dlqstore.Exhausted || dead.RetryCount != attempts {
			t.Errorf("got reason %s after %d attempts, want exhausted after %d", dead.Reason, dead.RetryCount, attempts)
		}
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(r.Requests()); n != 5*attempts {
		t.Errorf("got %d requests, want %d", n, 5*attempts)
	}
}

// Retries of a process that nobody disturbs cost nothing in the ledger.
func TestUndisturbedRetriesWriteNoLedger(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(503, 503, 503, 204))
	h.start(slow(t, r.URL, "1000", 8))
	h.publish("orders.created", "x")
	r.Wait(t, 4)
	h.awaitSettled("ORDERS", "relay-billing")
	s, err := h.js.Stream(t.Context(), "RELAY_LEDGER")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.LastSeq; n != 0 {
		t.Errorf("%d entries were written", n)
	}
}

// Without its ledger relay delivers all the same.
func TestDeliversWithoutALedger(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(503, 503, 204))
	d := h.start(slow(t, r.URL, "0.001", 8))
	h.publish("orders.created", "x")
	h.publish("orders.created", "y")
	r.Wait(t, 1)
	if err := h.js.DeleteStream(t.Context(), "RELAY_LEDGER"); err != nil {
		t.Fatal(err)
	}
	d.stop()
	h.start(slow(t, r.URL, "1000", 8))
	r.Wait(t, 4)
	h.awaitSettled("ORDERS", "relay-billing")
}

package dispatcher_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
	"relay/routes"
)

// pushRoute has a short ack_wait: what a push consumer has on its way when relay stops
// listening comes again after that, for its server sends without being asked.
func pushRoute(t *testing.T, url string) *routes.Config {
	t.Helper()
	return config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    consumer: { type: push, deliver_subject: deliver.billing, deliver_group: relay, ack_wait: 8s }
    concurrency: 4
    webhook: { url: "%s/hook", timeout: 2s }
    circuit_breaker: { consecutive_failures: 3, open_for: 1s }
    retry: { max_attempts: 20, backoff: { initial: 10ms, max: 50ms } }
`, url)
}

// awaitPushed waits until the push consumer has nothing left to deliver or to settle.
func (h *house) awaitPushed() {
	h.t.Helper()
	testkit.Eventually(h.t, func() bool {
		c, err := h.js.PushConsumer(context.Background(), "ORDERS", "relay-billing")
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	}, "the push consumer to be done")
}

// A push consumer leads through the same path: shared by processes, bounded by the
// route's concurrency, retried, acked.
func TestPushConsumer(t *testing.T) {
	const messages = 60
	h := newHouse(t)
	var under, most atomic.Int64
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer under.Add(-1)
		if q.Header.Get("Relay-Attempt") == "1" && q.Header.Get("Relay-Stream-Sequence") == "7" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	c := pushRoute(t, r.URL)
	one, two := h.start(c), h.start(c)
	testkit.Eventually(t, func() bool {
		return one.Status()[0].State == dispatcher.StateRunning && two.Status()[0].State == dispatcher.StateRunning
	}, "both to run")
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	got := r.Wait(t, messages+1)
	h.awaitPushed()
	seen := map[string]int{}
	for _, q := range got {
		seen[string(q.Body)]++
	}
	if len(seen) != messages || seen["6"] != 2 || len(r.Requests()) != messages+1 {
		t.Errorf("%d of %d messages came in %d requests, the failed one %d times", len(seen), messages, len(r.Requests()), seen["6"])
	}
	if n := most.Load(); n > 2*4 {
		t.Errorf("%d attempts at once, two processes may make 4 each", n)
	}
	testkit.Eventually(t, func() bool { return one.Status()[0].Position == messages }, "the figures to be read")
}

// A push consumer asks before it sends more than relay may have in hand, and goes on
// when there is room, so that its bytes are bounded whatever max_ack_pending allows.
func TestPushIsBoundedInBytes(t *testing.T) {
	const size, bound, messages = 768 << 10, 64 << 20, 130
	h := newHouse(t)
	answer := make(chan struct{})
	r := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) { <-answer })
	c, reg := pushRoute(t, r.URL), prometheus.NewRegistry()
	c.Routes[0].Consumer.AckWait, c.Routes[0].Webhook.Timeout = time.Minute, time.Minute
	d := h.start(c, func(o *dispatcher.Options) { o.MaxInFlightBytes, o.Registerer = bound, reg })
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "the route to run")
	body := strings.Repeat("x", size)
	for range messages {
		h.publish("orders.created", body)
	}
	most := 0.0
	for i := range messages {
		left := min(bound/4, (messages-i)*size)
		testkit.Eventually(t, func() bool { return metric(t, reg, "relay_in_flight_bytes") >= float64(left) }, "message %d to be sent", i)
		most = max(most, metric(t, reg, "relay_in_flight_bytes"))
		answer <- struct{}{}
	}
	h.awaitPushed()
	if most > bound+size || most < bound/2 {
		t.Errorf("%.0f bytes in hand, want at most %d and much of it", most, bound)
	}
	if n := len(r.Requests()); n != messages {
		t.Errorf("%d requests, want %d", n, messages)
	}
}

// A push consumer that somebody made without flow control is bounded by max_ack_pending
// alone; who could hold less than that is told.
func TestPushWithoutFlowControl(t *testing.T) {
	const size, fit = 1<<20 - 1<<10, 8
	for name, tt := range map[string]struct {
		maxAckPending int
		warns         bool
	}{"more than fits": {10_000, true}, "what fits": {fit, false}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			answer := make(chan struct{})
			r := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) { <-answer })
			c, reg := pushRoute(t, r.URL), prometheus.NewRegistry()
			c.Routes[0].Consumer.MaxAckPending = tt.maxAckPending
			c.Routes[0].Webhook.Timeout = 30 * time.Second
			h.backlog(0)
			if _, err := h.js.CreatePushConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{
				Durable: "relay-billing", DeliverSubject: "deliver.billing", DeliverGroup: "relay", FilterSubject: "orders.created",
				AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, Metadata: map[string]string{"relay.route": "billing", "relay.start": "all"},
			}); err != nil {
				t.Fatal(err)
			}
			d := h.start(c, func(o *dispatcher.Options) { o.MaxInFlightBytes, o.Registerer = fit<<20, reg })
			testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "the route to run")
			for range 3 * fit {
				h.publish("orders.created", strings.Repeat("x", size))
			}
			want := min(3*fit, tt.maxAckPending)
			testkit.Eventually(t, func() bool { return metric(t, reg, "relay_in_flight_bytes") >= float64(want*size) }, "%d messages in hand", want)
			if n := metric(t, reg, "relay_in_flight_bytes"); n > float64(want+1)*size {
				t.Errorf("%v bytes in hand, max_ack_pending is %d", n, tt.maxAckPending)
			}
			close(answer)
			r.Wait(t, 3*fit)
			h.awaitPushed()
			testkit.Eventually(t, func() bool { return d.Status()[0].Position == 3*fit }, "the figures to be read")
			if warned := strings.Contains(d.log.String(), "push consumer without flow control"); warned != tt.warns {
				t.Errorf("warned: %t, want %t", warned, tt.warns)
			}
		})
	}
}

// A question of the server's that nobody answered, because the process that had it died,
// is put again, and the next process goes on.
func TestPushGoesOnAfterAnUnansweredQuestion(t *testing.T) {
	const messages = 40 // of 256 KiB; the first window is 2 MiB
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusNoContent))
	c := pushRoute(t, r.URL)
	first := h.start(c)
	testkit.Eventually(t, func() bool { return first.Status()[0].State == dispatcher.StateRunning }, "the route to run")
	first.stop()
	asked := make(chan struct{}, 1)
	sub, err := h.nats.Conn(t).QueueSubscribe("deliver.billing", "relay", func(m *nats.Msg) {
		if strings.HasPrefix(m.Reply, "$JS.FC.") {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for range messages {
		h.publish("orders.created", strings.Repeat("x", 256<<10))
	}
	<-asked
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	h.start(c)
	h.awaitPushed()
	if n := len(r.Requests()); n != messages {
		t.Errorf("%d requests, want %d", n, messages)
	}
}

// What a push consumer sent to a process that died before it came to it had no attempt,
// however often that happens; a failed one counts also for the process that follows.
func TestPushedMessagesThatOnlyWaitedHadNoAttempt(t *testing.T) {
	const deaths = 4
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable))
	c := pushRoute(t, r.URL)
	c.Routes[0].Consumer.AckWait, c.Routes[0].Retry.MaxAttempts = time.Second, 3
	c.Routes[0].Retry.Schedule = []time.Duration{time.Second}
	d := h.start(c)
	h.publish("orders.created", "x")
	r.Wait(t, 1)
	testkit.Eventually(t, func() bool { return d.Status()[0].Failed == 1 }, "the attempt to end")
	d.stop()

	// In place of processes that die.
	came := make(chan *nats.Msg, 100)
	sub, err := h.nats.Conn(t).ChanQueueSubscribe("deliver.billing", "relay", came)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < deaths; {
		if m := <-came; strings.HasPrefix(m.Reply, "$JS.ACK.") {
			n++
		}
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	r.Answer(testkit.Status(http.StatusNoContent))
	h.start(c)
	second := r.Wait(t, 2)[1]
	if n := second.Header.Get("Relay-Attempt"); n != "2" && n != "3" { // the last death may have been of the attempt
		t.Errorf("it came as attempt %s, want 2 or 3", n)
	}
	h.awaitPushed()
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) > 0 {
		t.Errorf("%d dead letters: %s", len(dead), dead[0].Error)
	}
}

// A message that kills relay three times after an attempt that failed is poison then, on
// a push route as on others.
func TestPushedMessageThatKillsThreeTimes(t *testing.T) {
	h := newHouse(t)
	var victim atomic.Pointer[nats.Conn]
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if q.Header.Get("Relay-Attempt") != "1" {
			victim.Load().Close() // in place of a death: nothing is heard of it any more
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := pushRoute(t, r.URL)
	c.Routes[0].Consumer.AckWait, c.Routes[0].Retry.MaxAttempts = time.Second, 8
	life := func() *running {
		nc := h.nats.Conn(t)
		victim.Store(nc)
		return h.start(c, func(o *dispatcher.Options) { o.Conn = nc })
	}
	d := life()
	h.publish("orders.created", "x")
	for n := 2; n <= 4; n++ { // the first life makes two attempts
		r.Wait(t, n)
		d.stop()
		d = life()
	}
	if dead := h.awaitDead(1)[0]; dead.Reason != dlqstore.Poison || dead.RetryCount != 4 {
		t.Errorf("got reason %s after %d attempts, want poison after 4", dead.Reason, dead.RetryCount)
	}
	h.awaitPushed()
	if n := len(r.Requests()); n != 4 {
		t.Errorf("got %d requests, want 4", n)
	}
}

// What cannot be sent while the breaker is open stays at the server, and comes when it
// has closed; a deleted consumer is made again.
func TestPushConsumerThroughTrouble(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable))
	d := h.start(pushRoute(t, r.URL))
	for i := range 20 {
		h.publish("orders.created", fmt.Sprint(i))
	}
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateBreakerOpen }, "the breaker to open")
	testkit.Eventually(t, func() bool {
		c, err := h.js.PushConsumer(t.Context(), "ORDERS", "relay-billing")
		return err == nil && !c.CachedInfo().PushBound
	}, "nobody to listen while the breaker is open")
	r.Answer(testkit.Status(http.StatusNoContent))
	h.awaitPushed()
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
	testkit.Eventually(t, func() bool { s := d.Status()[0]; return s.Position == 20 && s.State == dispatcher.StateRunning }, "the figures to be read")
	if err := h.js.DeleteConsumer(t.Context(), "ORDERS", "relay-billing"); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "after")
	testkit.Eventually(t, func() bool {
		return slices.ContainsFunc(r.Requests(), func(q testkit.Request) bool { return string(q.Body) == "after" })
	}, "the message after the consumer was deleted")
}

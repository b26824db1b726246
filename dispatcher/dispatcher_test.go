package dispatcher_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
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

// house is a NATS server and what a test puts in front of it.
type house struct {
	t    testing.TB
	nats *testkit.Server
	js   jetstream.JetStream
}

func newHouse(t testing.TB) *house {
	t.Helper()
	s := testkit.NATS(t)
	return &house{t: t, nats: s, js: s.JetStream(t)}
}

// config parses a routes file; %s in it is the receiver's URL.
func config(t testing.TB, yaml string, args ...any) *routes.Config {
	t.Helper()
	c, err := routes.Parse("routes.yaml", fmt.Appendf(nil, yaml, args...), routes.Options{CheckFilter: dispatcher.CheckFilter})
	if err != nil {
		t.Fatalf("routes file: %v", err)
	}
	return c
}

// running is a dispatcher that a test started.
type running struct {
	*dispatcher.Dispatcher
	log  *logBuffer
	stop func()
}

// start runs a dispatcher until the test ends or stop is called.
func (h *house) start(c *routes.Config, change ...func(*dispatcher.Options)) *running {
	h.t.Helper()
	log := &logBuffer{}
	o := dispatcher.Options{
		Conn: h.nats.Conn(h.t), Config: c, Drain: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	d, err := dispatcher.New(o)
	if err != nil {
		h.t.Fatalf("dispatcher: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.Prepare(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("dispatcher: %v", err)
		}
	})
	h.t.Cleanup(func() {
		stop()
		if h.t.Failed() {
			h.t.Logf("log of the dispatcher:\n%s", log)
		}
	})
	return &running{d, log, stop}
}

func (h *house) publish(subject, data string, headers ...string) *jetstream.PubAck {
	h.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header[headers[i]] = append(m.Header[headers[i]], headers[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ack, err := h.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(100))
	if err != nil {
		h.t.Fatalf("publish to %s: %v", subject, err)
	}
	return ack
}

// deadLetters reads all of a dead-letter stream.
func (h *house) deadLetters(stream string) []dlqstore.Record {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := h.js.Stream(ctx, stream)
	if err != nil {
		return nil // not made yet
	}
	var out []dlqstore.Record
	info := s.CachedInfo()
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		var m *jetstream.RawStreamMsg
		testkit.Eventually(h.t, func() bool { // a cluster may be between two leaders
			m, err = s.GetMsg(ctx, seq)
			return err == nil
		}, "message %d of %s", seq, stream)
		r, err := dlqstore.Decode(m.Header, m.Data)
		if err != nil {
			h.t.Fatalf("decode message %d of %s: %v", seq, stream, err)
		}
		out = append(out, r)
	}
	return out
}

// awaitDead waits for n dead letters in RELAY_DLQ.
func (h *house) awaitDead(n int) []dlqstore.Record {
	h.t.Helper()
	var got []dlqstore.Record
	testkit.Eventually(h.t, func() bool { got = h.deadLetters("RELAY_DLQ"); return len(got) >= n }, "%d dead letters", n)
	return got
}

// awaitNoRequests waits until a stopping dispatcher has taken its requests back.
func (h *house) awaitNoRequests(stream, consumer string) {
	h.t.Helper()
	testkit.Eventually(h.t, func() bool {
		c, err := h.js.Consumer(context.Background(), stream, consumer)
		return err == nil && c.CachedInfo().NumWaiting == 0
	}, "the dispatcher to take its requests back")
}

// awaitSettled waits until the consumer has nothing left to deliver or to settle.
func (h *house) awaitSettled(stream, consumer string) {
	h.t.Helper()
	testkit.Eventually(h.t, func() bool {
		c, err := h.js.Consumer(context.Background(), stream, consumer)
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	}, "consumer %s of %s to be done", consumer, stream)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const oneRoute = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    webhook: { url: "%s/hook", timeout: 2s }
    retry: { max_attempts: 3, backoff: { initial: 10ms, max: 50ms } }
`

func TestDeliversTheBytesAndAcks(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.start(config(t, oneRoute, r.URL))
	ack := h.publish("orders.created", `{"id":7}`, "Event-Type", "order")

	got := r.Wait(t, 1)[0]
	if string(got.Body) != `{"id":7}` || got.Path != "/hook" || got.Method != http.MethodPost {
		t.Errorf("got %s %s with %q", got.Method, got.Path, got.Body)
	}
	for name, want := range map[string]string{
		"Relay-Route": "billing", "Relay-Attempt": "1", "Relay-Subject": "orders.created", "Relay-Stream": "ORDERS",
		"Relay-Stream-Sequence": fmt.Sprint(ack.Sequence), "Content-Type": "application/json",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("header %s: got %q, want %q", name, got.Header.Get(name), want)
		}
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(r.Requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}

func TestRetriesUntilDelivered(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(503, 500, 204))
	h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "x")
	got := r.Wait(t, 3)
	h.awaitSettled("ORDERS", "relay-billing")
	for i, req := range got {
		if want := fmt.Sprint(i + 1); req.Header.Get("Relay-Attempt") != want {
			t.Errorf("request %d says attempt %s, want %s", i, req.Header.Get("Relay-Attempt"), want)
		}
		if req.Header.Get("Webhook-Id") != got[0].Header.Get("Webhook-Id") {
			t.Errorf("request %d has another webhook-id", i)
		}
	}
	if dead := h.deadLetters("RELAY_DLQ"); len(got) != 3 || len(dead) != 0 {
		t.Errorf("got %d requests and %d dead letters, want 3 and 0", len(got), len(dead))
	}
}

func TestDeadLetters(t *testing.T) {
	for name, tt := range map[string]struct {
		answer   testkit.Answer
		reason   dlqstore.Reason
		attempts int
		status   int
	}{
		"exhausted": {testkit.Status(500), dlqstore.Exhausted, 3, 500},
		"rejected":  {testkit.Status(422), dlqstore.Rejected, 1, 422},
		"oversize":  {testkit.Status(413), dlqstore.Oversize, 1, 413},
		"aborted": {func(w http.ResponseWriter, _ testkit.Request) {
			w.Header().Set("webhook-delivery", "abort-message")
			w.WriteHeader(http.StatusInternalServerError)
		}, dlqstore.Aborted, 1, 500},
		"no answer": {func(http.ResponseWriter, testkit.Request) { panic(http.ErrAbortHandler) }, dlqstore.Exhausted, 3, 0},
		"redirect":  {testkit.Status(301), dlqstore.Exhausted, 3, 301},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, tt.answer)
			h.start(config(t, oneRoute, r.URL))
			ack := h.publish("orders.created", "\x00\xff payload", "Nats-Rollup-Not", "1", "X-Y", "z")
			got := h.awaitDead(1)[0]
			h.awaitSettled("ORDERS", "relay-billing")

			if got.Reason != tt.reason || got.RetryCount != tt.attempts || got.Status != tt.status {
				t.Errorf("got reason %s, %d attempts, status %d; want %s, %d, %d",
					got.Reason, got.RetryCount, got.Status, tt.reason, tt.attempts, tt.status)
			}
			if n := len(r.Requests()); n != tt.attempts {
				t.Errorf("the receiver saw %d requests, want %d", n, tt.attempts)
			}
			if string(got.Payload) != "\x00\xff payload" || got.Headers["X-Y"][0] != "z" || got.Headers["Nats-Rollup-Not"][0] != "1" {
				t.Errorf("payload or headers differ: %q %v", got.Payload, got.Headers)
			}
			if got.OriginalSubject != "orders.created" || got.Stream != "ORDERS" || got.StreamSequence != ack.Sequence ||
				got.ConsumerName != "relay-billing" || got.Error == "" {
				t.Errorf("cause is incomplete: %+v", got.DeadLetter)
			}
			if id := r.Requests()[0].Header.Get("Webhook-Id"); got.ID != id {
				t.Errorf("dead letter %s, webhook-id %s", got.ID, id)
			}
		})
	}
}

// A missing stream is said with both ways to mend it, and the route begins by itself
// once the stream is there.
func TestWaitsForAStreamThatOthersOwn(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, `
version: 1
routes:
  - { name: billing, stream: ORDERS, filter_subjects: [orders.created], webhook: { url: "%s" } }
`, r.URL))
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateWaiting }, "state waiting_for_stream")
	for _, want := range []string{`no stream "ORDERS"`, "streams:", "nats stream add"} {
		if !strings.Contains(d.Status()[0].Reason, want) {
			t.Errorf("reason %q does not name %q", d.Status()[0].Reason, want)
		}
	}
	if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "x")
	r.Wait(t, 1)
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running")
}

// Two dispatchers on one file share the work, each message goes to one of them.
func TestTwoProcessesShareTheWork(t *testing.T) {
	const messages = 400
	h := newHouse(t)
	// Each answer waits for company, so that one process cannot take all there is.
	r := testkit.NewReceiver(t, nil)
	c := config(t, oneRoute, r.URL)
	a, b := h.start(c), h.start(c)
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	r.Wait(t, messages)
	h.awaitSettled("ORDERS", "relay-billing")
	seen := map[string]int{}
	for _, req := range r.Requests() {
		seen[string(req.Body)]++
	}
	if len(seen) != messages || len(r.Requests()) != messages {
		t.Errorf("%d requests for %d of %d messages", len(r.Requests()), len(seen), messages)
	}
	for name, d := range map[string]*running{"first": a, "second": b} {
		if d.Status()[0].Delivered == 0 {
			t.Errorf("the %s dispatcher delivered nothing", name)
		}
	}
}

// On a stop, an attempt under way finishes and is settled; what was not posted yet goes
// back at once, and nothing new is posted.
func TestStopDrains(t *testing.T) {
	h := newHouse(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		entered <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	d := h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: 1
    webhook: { url: "%s", timeout: 20s }
`, r.URL), func(o *dispatcher.Options) { o.Drain = 30 * time.Second })
	h.publish("orders.created", "under way")
	<-entered
	h.publish("orders.created", "not taken")
	stopped := make(chan struct{})
	go func() { d.stop(); close(stopped) }()
	h.awaitNoRequests("ORDERS", "relay-billing")
	close(release)
	<-stopped
	c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil {
		t.Fatal(err)
	}
	info := c.CachedInfo()
	if len(r.Requests()) != 1 || info.AckFloor.Stream != 1 || info.NumAckPending != 0 || info.NumPending != 1 {
		t.Errorf("%d requests, ack floor %d, ack pending %d, pending %d; want 1, 1, 0, 1",
			len(r.Requests()), info.AckFloor.Stream, info.NumAckPending, info.NumPending)
	}
}

// An attempt that is still under way when the drain time is over is given back at once.
func TestStopCutsOffAfterDrain(t *testing.T) {
	h := newHouse(t)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	r := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) {
		entered <- struct{}{}
		<-release
	})
	d := h.start(config(t, oneRoute, r.URL), func(o *dispatcher.Options) { o.Drain = 0 })
	h.publish("orders.created", "x")
	<-entered
	d.stop()

	// The next dispatcher gets it without waiting for AckWait.
	again := testkit.NewReceiver(t, nil)
	h.start(config(t, oneRoute, again.URL))
	if got := again.Wait(t, 1)[0]; got.Header.Get("Relay-Attempt") != "2" {
		t.Errorf("attempt %s, want 2: the first one was posted", got.Header.Get("Relay-Attempt"))
	}
}

// Large messages to receivers that do not answer stay under the process's bound, over
// all routes together, and all arrive in the end.
func TestBytesInFlightAreBounded(t *testing.T) {
	const bound, messages = 4 << 20, 40
	h := newHouse(t)
	gate := make(chan struct{})
	defer close(gate)
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		<-gate
		w.WriteHeader(http.StatusNoContent)
	})
	reg := prometheus.NewRegistry()
	h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults: { concurrency: 32, webhook: { timeout: 20s } }
routes:
  - { name: one, stream: ORDERS, filter_subjects: [orders.one], webhook: { url: "%[1]s/" } }
  - { name: two, stream: ORDERS, filter_subjects: [orders.two], webhook: { url: "%[1]s/" } }
`, r.URL), func(o *dispatcher.Options) { o.MaxInFlightBytes, o.Registerer = bound, reg })
	for i := range messages {
		h.publish([]string{"orders.one", "orders.two"}[i%2], strings.Repeat("x", 512<<10))
	}
	inHand := func() float64 { return metric(t, reg, "relay_in_flight_bytes") }
	// Each route can hold all of its messages; only the bound keeps it from that.
	var most float64
	testkit.Eventually(t, func() bool { most = max(most, inHand()); return most > bound/4 }, "large messages in hand")
	for range messages {
		most = max(most, inHand())
		gate <- struct{}{}
	}
	r.Wait(t, messages)
	h.awaitSettled("ORDERS", "relay-one")
	h.awaitSettled("ORDERS", "relay-two")
	if most > bound {
		t.Errorf("%.0f bytes were in hand, the bound is %d", most, bound)
	}
	testkit.Eventually(t, func() bool { return inHand() == 0 }, "nothing in hand at the end")
}

// metric reads the first sample of a family.
func metric(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// What was ignored in an answer, and left out of a request, is counted.
func TestCountsWhatItIgnores(t *testing.T) {
	h := newHouse(t)
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if q.Header.Get("Relay-Attempt") == "1" {
			w.Header().Set("Retry-After", "soon")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	reg := prometheus.NewRegistry()
	c := config(t, oneRoute, r.URL)
	c.Routes[0].Webhook.ForwardHeaders = []string{"X-*"}
	h.start(c, func(o *dispatcher.Options) { o.Registerer = reg })
	h.publish("orders.created", "x", "X-Good", "1", "X-Bad", "a\x01b")
	r.Wait(t, 2)
	h.awaitSettled("ORDERS", "relay-billing")
	if n := metric(t, reg, "relay_bad_retry_after_total"); n != 1 {
		t.Errorf("relay_bad_retry_after_total is %v, want 1", n)
	}
	if n := metric(t, reg, "relay_dropped_headers_total"); n != 2 {
		t.Errorf("relay_dropped_headers_total is %v, want one in each of 2 attempts", n)
	}
}

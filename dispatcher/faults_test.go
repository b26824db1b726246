package dispatcher_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// reconnecting makes the dispatcher's connection behave as relay's does.
func (h *house) reconnecting(o *dispatcher.Options) {
	o.Conn = h.nats.Conn(h.t, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
}

func TestGoesOnAfterAServerRestart(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.start(config(t, oneRoute, r.URL), h.reconnecting)
	h.publish("orders.created", "before")
	r.Wait(t, 1)
	h.nats.Restart(t)
	h.js = h.nats.JetStream(t)
	h.publish("orders.created", "after")
	testkit.Eventually(t, func() bool {
		return slices.ContainsFunc(r.Requests(), func(q testkit.Request) bool { return string(q.Body) == "after" })
	}, "the message published after the restart")
	h.awaitSettled("ORDERS", "relay-billing")
}

// A consumer deleted behind relay's back is made again where it stood: what was
// delivered is not delivered again.
func TestMakesADeletedConsumerAgainWhereItStood(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, oneRoute, r.URL))
	for i := range 50 {
		h.publish("orders.created", fmt.Sprint(i))
	}
	r.Wait(t, 50)
	h.awaitSettled("ORDERS", "relay-billing")
	// The position is known once the figures have been read.
	testkit.Eventually(t, func() bool { s := d.Status()[0]; return s.NumPending == 0 && s.Position == 50 }, "the position to be read")
	if err := h.js.DeleteConsumer(t.Context(), "ORDERS", "relay-billing"); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "new")
	got := r.Wait(t, 51)
	if string(got[50].Body) != "new" {
		t.Errorf("after the consumer was made again the receiver got %q first", got[50].Body)
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(r.Requests()); n != 51 {
		t.Errorf("got %d requests, want 51", n)
	}
}

// A recreated stream counts from 1 again; the old position means nothing on it.
func TestBeginsAnewOnARecreatedStream(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, oneRoute, r.URL))
	for i := range 20 {
		h.publish("orders.created", fmt.Sprint(i))
	}
	r.Wait(t, 20)
	testkit.Eventually(t, func() bool { return d.Status()[0].Position == 20 }, "the position to be read")
	if err := h.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "anew")
	got := r.Wait(t, 21)
	if string(got[20].Body) != "anew" || got[20].Header.Get("Relay-Stream-Sequence") != "1" {
		t.Errorf("got %q, sequence %s", got[20].Body, got[20].Header.Get("Relay-Stream-Sequence"))
	}
}

func TestRefusesConsumersThatAreNotItsOwn(t *testing.T) {
	for name, tt := range map[string]struct {
		config jetstream.ConsumerConfig
		want   string
	}{
		"unmanaged":     {jetstream.ConsumerConfig{}, "not managed by relay"},
		"another route": {jetstream.ConsumerConfig{Metadata: map[string]string{"relay.route": "other"}}, `belongs to route "other"`},
		"BackOff": {jetstream.ConsumerConfig{
			Metadata: map[string]string{"relay.route": "billing"}, BackOff: []time.Duration{time.Second}, MaxDeliver: 5,
		}, "BackOff"},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
				t.Fatal(err)
			}
			tt.config.Durable, tt.config.AckPolicy = "relay-billing", jetstream.AckExplicitPolicy
			if _, err := h.js.CreateConsumer(t.Context(), "ORDERS", tt.config); err != nil {
				t.Fatal(err)
			}
			d := h.start(config(t, oneRoute, r.URL))
			testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateMisconfigured }, "state misconfigured")
			if reason := d.Status()[0].Reason; !strings.Contains(reason, tt.want) {
				t.Errorf("reason %q does not say %q", reason, tt.want)
			}
		})
	}
}

// A message with the headers of a protocol message is delivered like any other.
func TestDeliversMessagesThatLookLikeProtocol(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "", "Status", "409", "Description", "Consumer Deleted")
	h.publish("orders.created", "next")
	r.Wait(t, 2)
	h.awaitSettled("ORDERS", "relay-billing")
}

// While the dead-letter stream takes nothing, messages stay in their stream; the route
// says so, and goes on by itself.
func TestDeadLetterStreamUnavailable(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422))
	c := config(t, oneRoute, r.URL)
	if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew,
	}); err != nil {
		t.Fatal(err)
	}
	h.publishTo("RELAY_DLQ", "dlq.other.x") // it is full
	d := h.start(c)
	h.publish("orders.created", "x")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateNoDeadLetters }, "state dead_letter_unavailable")
	cons, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil || cons.CachedInfo().NumAckPending != 1 {
		t.Fatalf("the message is not pending any more: %v %v", cons, err)
	}
	stream, err := h.js.Stream(t.Context(), "RELAY_DLQ")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.awaitDead(1)
	h.awaitSettled("ORDERS", "relay-billing")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running")
}

func (h *house) publishTo(stream, subject string) {
	h.t.Helper()
	if _, err := h.js.Publish(context.Background(), subject, nil, jetstream.WithExpectStream(stream)); err != nil {
		h.t.Fatal(err)
	}
}

// While the receiver is down the breaker stops the pulls: messages wait in their
// stream and no attempt is burnt on them.
func TestBreakerStopsPulling(t *testing.T) {
	const messages = 200
	h := newHouse(t)
	var mu sync.Mutex
	up := false
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !up {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	d := h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: 4
    webhook: { url: "%s" }
    circuit_breaker: { consecutive_failures: 5, open_for: 1s }
    retry: { max_attempts: 20, backoff: { initial: 10ms, max: 50ms } }
`, r.URL))
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateBreakerOpen }, "state breaker_open")
	if n := len(r.Requests()); n > 5+4 {
		t.Errorf("%d requests before the breaker opened, want at most the 5 that open it and what was under way", n)
	}
	mu.Lock()
	up = true
	mu.Unlock()
	delivered := map[string]bool{}
	testkit.Eventually(t, func() bool {
		for _, q := range r.Requests() {
			delivered[string(q.Body)] = true
		}
		return len(delivered) == messages && d.Status()[0].Delivered == messages
	}, "all messages delivered")
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) != 0 {
		t.Errorf("%d dead letters, want none", len(dead))
	}
}

// An obstacle on relay's own side burns no attempt.
func TestOurSideBurnsNoAttempt(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    webhook:
      url: "%s"
      auth: { oauth2: { token_url: "http://127.0.0.1:1/token", client_id: relay, client_secret: { env: CLIENT_SECRET } } }
    circuit_breaker: { open_for: 1s }
    retry: { max_attempts: 1 }
`, r.URL), func(o *dispatcher.Options) {
		o.LookupEnv = func(string) (string, bool) { return "secret", true }
	})
	h.publish("orders.created", "x")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateBreakerOpen }, "state breaker_open")
	testkit.Eventually(t, func() bool { return strings.Count(d.log.String(), "held back") >= 3 }, "three tries")
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) != 0 {
		t.Errorf("got dead letters %v", dead)
	}
	if why := d.Status()[0].Reason; !strings.Contains(why, "token") {
		t.Errorf("reason %q does not say that the token is missing", why)
	}
	if n := len(r.Requests()); n != 0 {
		t.Errorf("the receiver saw %d requests", n)
	}
	if a := h.attempts(); len(a) != 0 {
		t.Errorf("%d attempts are recorded, and no request was made", len(a))
	}
}

// A replay comes through its lane, reaches the route, and its end is told on the
// attempts stream before its message goes.
func TestReplayLane(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422, 204))
	h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "x", "Event-Type", "order")
	dead := h.awaitDead(1)[0]
	replay := dlqstore.Replay{DeadLetter: dead.DeadLetter, Number: 1}
	if _, err := h.js.PublishMsg(t.Context(), replay.Encode()); err != nil {
		t.Fatal(err)
	}
	got := r.Wait(t, 2)[1]
	if string(got.Body) != "x" || got.Header.Get("Webhook-Id") != dead.ID || got.Header.Get("Relay-Replay-Of") != dead.ID ||
		got.Header.Get("Relay-Attempt") != "1" || got.Header.Get("Relay-Subject") != "orders.created" {
		t.Errorf("the replay differs: %q %v", got.Body, got.Header)
	}
	h.awaitSettled("RELAY_REPLAY", "relay-replay-billing")
	var ends []dlqstore.Attempt
	for _, a := range h.attempts() {
		if a.Replay == 1 {
			ends = append(ends, a)
		}
	}
	if len(ends) != 1 || ends[0].Verdict != "ack" || ends[0].ID != dead.ID || ends[0].Status != 204 {
		t.Errorf("the replay's end is told as %+v", ends)
	}
}

// A replay that dies again is a dead letter of its own in the stream, not a duplicate
// of the first death.
func TestReplayDiesAgain(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422))
	h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "x")
	dead := h.awaitDead(1)[0]
	if _, err := h.js.PublishMsg(t.Context(), (dlqstore.Replay{DeadLetter: dead.DeadLetter, Number: 1}).Encode()); err != nil {
		t.Fatal(err)
	}
	again := h.awaitDead(2)[1]
	if again.ID != dead.ID || again.Replay != 1 || string(again.Payload) != "x" {
		t.Errorf("got %+v", again)
	}
}

// attempts reads the attempts stream.
func (h *house) attempts() []dlqstore.Attempt {
	h.t.Helper()
	s, err := h.js.Stream(context.Background(), dlqstore.AttemptsStream)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []dlqstore.Attempt
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(context.Background(), seq)
		if err != nil {
			h.t.Fatal(err)
		}
		a, err := dlqstore.DecodeAttempt(m.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func TestFilterAcksWhatItLeavesOut(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    filter: 'headers["Event-Type"] == "order" && body.total > 10'
    webhook: { url: "%s" }
`, r.URL))
	h.publish("orders.a", `{"total":5}`, "Event-Type", "order")
	h.publish("orders.b", `{"total":50}`, "Event-Type", "other")
	h.publish("orders.c", `{"total":50}`, "Event-Type", "order")
	h.awaitSettled("ORDERS", "relay-billing")
	if got := r.Wait(t, 1); len(got) != 1 || got[0].Header.Get("Relay-Subject") != "orders.c" {
		t.Errorf("got %d requests, the first of %s", len(got), got[0].Header.Get("Relay-Subject"))
	}
}

// The stream's order holds through retries and over two processes.
func TestStrictOrder(t *testing.T) {
	const messages = 30
	h := newHouse(t)
	var mu sync.Mutex
	var order []string
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		mu.Lock()
		defer mu.Unlock()
		if q.Header.Get("Relay-Attempt") == "1" && len(order)%3 == 0 {
			w.WriteHeader(http.StatusConflict)
			return
		}
		order = append(order, string(q.Body))
	})
	c := config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    order: strict
    webhook: { url: "%s" }
    retry: { backoff: { initial: 20ms, max: 40ms } }
`, r.URL)
	h.start(c)
	h.start(c)
	for i := range messages {
		h.publish("orders.created", fmt.Sprintf("%03d", i))
	}
	h.awaitSettled("ORDERS", "relay-billing")
	mu.Lock()
	defer mu.Unlock()
	if len(order) != messages || !slices.IsSorted(order) {
		t.Errorf("delivered %d in the order %v", len(order), order)
	}
}

func TestConcurrencyHolds(t *testing.T) {
	const limit, messages = 3, 100
	h := newHouse(t)
	var mu sync.Mutex
	under, most := 0, 0
	release := make(chan struct{})
	r := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) {
		mu.Lock()
		under++
		most = max(most, under)
		mu.Unlock()
		<-release
		mu.Lock()
		under--
		mu.Unlock()
	})
	h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - { name: billing, stream: ORDERS, filter_subjects: [orders.created], concurrency: %d, webhook: { url: "%s" } }
`, limit, r.URL))
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	testkit.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return under == limit }, "%d attempts under way", limit)
	// The rest waits at the server, not in relay's memory.
	c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CachedInfo().NumAckPending; n != limit {
		t.Errorf("%d messages in hand, want %d", n, limit)
	}
	close(release)
	r.Wait(t, messages)
	h.awaitSettled("ORDERS", "relay-billing")
	if most > limit {
		t.Errorf("%d attempts at once, want at most %d", most, limit)
	}
}

// Messages that the receiver refuses for now wait for their retries and hold up neither
// a healthy one of their route nor another route: what they wait in is not the route's
// concurrency, and they do not speak against the receiver.
func TestFailingMessagesHoldUpNobody(t *testing.T) {
	const failing = 400
	h := newHouse(t)
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if string(q.Body) == "bad" {
			w.WriteHeader(http.StatusConflict)
		}
	})
	d := h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - { name: one, stream: ORDERS, filter_subjects: [orders.one], concurrency: 2, webhook: { url: "%[1]s" }, retry: { backoff: { initial: 1h, max: 2h } } }
  - { name: two, stream: ORDERS, filter_subjects: [orders.two], concurrency: 2, webhook: { url: "%[1]s" } }
`, r.URL))
	for range failing {
		h.publish("orders.one", "bad")
	}
	h.publish("orders.one", "good")
	h.publish("orders.two", "other")
	testkit.Eventually(t, func() bool {
		seen := delivered(r)
		return seen["good"] == 1 && seen["other"] == 1 && seen["bad"] >= failing
	}, "the healthy ones, and each of the others once")
	for _, s := range d.Status() {
		if s.State != dispatcher.StateRunning {
			t.Errorf("route %s is %s: %s", s.Route.Name, s.State, s.Reason)
		}
	}
	if n := delivered(r)["bad"]; n != failing {
		t.Errorf("%d requests for %d messages that wait for their retry", n, failing)
	}
}

// delivered counts the requests by their body.
func delivered(r *testkit.Receiver) map[string]int {
	seen := map[string]int{}
	for _, q := range r.Requests() {
		seen[string(q.Body)]++
	}
	return seen
}

// A stream that is deleted while its route runs, and is not relay's to make, is waited
// for; the route says so and goes on by itself.
func TestStreamDeletedWhileRunning(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	create := func() {
		if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
			t.Fatal(err)
		}
	}
	create()
	d := h.start(config(t, strings.Replace(oneRoute, "streams: [{ name: ORDERS, subjects: [orders.>] }]", "", 1), r.URL))
	h.publish("orders.created", "before")
	r.Wait(t, 1)
	if err := h.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool {
		s := d.Status()[0]
		return s.State == dispatcher.StateWaiting && strings.Contains(s.Reason, `"ORDERS"`)
	}, "state waiting_for_stream")
	create()
	h.publish("orders.created", "after")
	if got := r.Wait(t, 2); string(got[1].Body) != "after" {
		t.Errorf("got %q", got[1].Body)
	}
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running")
}

// A server that answers no pull request, here because relay's user may not make one, is
// noticed by its missing heartbeats, and the route says so.
func TestPullRequestsUnanswered(t *testing.T) {
	t.Parallel() // most of it is waiting for heartbeats
	h := &house{t: t, nats: testkit.NATS(t, func(o *server.Options) {
		o.NoAuthUser = "admin"
		o.Users = []*server.User{{Username: "admin", Password: "x"}, {Username: "relay", Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.ORDERS.>"}},
		}}}
	})}
	h.js = h.nats.JetStream(t)
	d := h.start(config(t, oneRoute, testkit.NewReceiver(t, nil).URL), func(o *dispatcher.Options) {
		o.Conn = h.nats.Conn(t, nats.UserInfo("relay", "x"))
	})
	h.publish("orders.created", "x")
	noticed := time.Now().Add(time.Minute)
	for s := d.Status()[0]; s.State != dispatcher.StateRecovering; s = d.Status()[0] {
		if time.Now().After(noticed) {
			t.Fatalf("state %s (%s), want recovering", s.State, s.Reason)
		}
		<-time.After(50 * time.Millisecond)
	}
	if why := d.Status()[0].Reason; !strings.Contains(why, "$JS.API.CONSUMER.MSG.NEXT.ORDERS.relay-billing") {
		t.Errorf("reason %q does not name the permission", why)
	}
}

// What was on its way when the connection ended is told all the same: each request that
// failed stands in the stream of attempts.
func TestRecordsEveryAttemptOverRestarts(t *testing.T) {
	const messages, attempts = 300, 3
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusConflict))
	c := config(t, oneRoute, r.URL)
	c.Routes[0].Consumer.AckWait = 2 * time.Second // what a restart leaves unsettled comes again soon
	h.start(c, h.reconnecting)
	for i := range messages {
		h.publish("orders.created", strconv.Itoa(i))
	}
	for n := 1; n <= attempts; n++ {
		r.Wait(t, n*messages-messages/2)
		h.nats.Restart(t)
		h.js = h.nats.JetStream(t)
	}
	h.awaitDead(messages)
	testkit.Eventually(t, func() bool {
		recorded := map[string]bool{}
		for _, a := range h.attempts() {
			recorded[a.ID+" "+strconv.Itoa(a.Number)] = true
		}
		return !slices.ContainsFunc(r.Requests(), func(q testkit.Request) bool {
			return !recorded[q.Header.Get("Webhook-Id")+" "+q.Header.Get("Relay-Attempt")]
		})
	}, "an event of each request")
}

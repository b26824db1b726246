package dispatcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/internal/testkit"
)

// A dead-letter stream that somebody deletes while relay runs is made again, and what
// died meanwhile is in it.
func TestDeadLetterStreamDeletedWhileRunning(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422))
	d := h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "before")
	h.awaitDead(1)
	if err := h.js.DeleteStream(t.Context(), "RELAY_DLQ"); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "after")
	if got := h.awaitDead(1); string(got[0].Payload) != "after" || got[0].Status != 422 {
		t.Errorf("got dead letter %q of status %d", got[0].Payload, got[0].Status)
	}
	h.awaitSettled("ORDERS", "relay-billing")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running")
}

// Dead letters that relay's user may not publish leave their messages where they are,
// and the route names the permission that is missing.
func TestDeadLettersNotPermitted(t *testing.T) {
	h, relay := newHouseDenying(t, "dlq.>")
	r := testkit.NewReceiver(t, testkit.Status(422))
	d := h.start(config(t, oneRoute, r.URL), relay)
	h.publish("orders.created", "x")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateNoDeadLetters }, "state dead_letter_unavailable")
	if why := d.Status()[0].Reason; !strings.Contains(why, "dlq.billing.orders.created") {
		t.Errorf("reason %q does not name the subject", why)
	}
	c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil || c.CachedInfo().NumAckPending != 1 {
		t.Errorf("the message is not pending any more: %v %v", c, err)
	}
}

// Messages that cannot be dead-lettered are told of before replays that wait.
func TestDeadLettersBeforeReplays(t *testing.T) {
	const subject = "$JS.API.CONSUMER.INFO.RELAY_REPLAY.relay-replay-billing"
	h, relay := newHouseDenying(t, subject)
	if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew,
	}); err != nil {
		t.Fatal(err)
	}
	h.publishTo("RELAY_DLQ", "dlq.other.x") // it is full
	d := h.start(config(t, oneRoute, testkit.NewReceiver(t, testkit.Status(422)).URL), relay)
	testkit.Eventually(t, func() bool { return strings.Contains(d.Status()[0].Reason, subject) }, "the reason to name %s", subject)
	h.publish("orders.created", "x")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateNoDeadLetters }, "state dead_letter_unavailable")
}

// A route whose consumer relay may not look at says which permission that takes.
func TestLookNotPermitted(t *testing.T) {
	const subject = "$JS.API.CONSUMER.INFO.ORDERS.relay-billing"
	h, relay := newHouseDenying(t, subject)
	d := h.start(config(t, oneRoute, testkit.NewReceiver(t, nil).URL), relay)
	testkit.Eventually(t, func() bool { return strings.Contains(d.Status()[0].Reason, subject) }, "the reason to name %s", subject)
}

// newHouseDenying is a house whose server lets relay not publish to a subject; relay has
// to be started as the user whom that concerns.
func newHouseDenying(t *testing.T, subject string) (h *house, relay func(*dispatcher.Options)) {
	h = &house{t: t, nats: testkit.NATS(t, func(o *server.Options) {
		o.NoAuthUser = "admin"
		o.Users = []*server.User{{Username: "admin", Password: "x"}, {Username: "relay", Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{subject}},
		}}}
	})}
	h.js = h.nats.JetStream(t)
	return h, func(o *dispatcher.Options) { o.Conn = h.nats.Conn(t, nats.UserInfo("relay", "x")) }
}

// BackOff and MaxDeliver that somebody set on relay's consumer are taken off at the
// next look: the one would add to every delay, the other strand messages.
func TestMendsItsConsumer(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	c := config(t, oneRoute, r.URL)
	d := h.start(c)
	testkit.Eventually(t, func() bool { return d.Status()[0].NumWaiting > 0 }, "the route to pull")
	d.stop()
	consumer, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil {
		t.Fatal(err)
	}
	edited := consumer.CachedInfo().Config
	edited.MaxDeliver, edited.BackOff = 5, []time.Duration{time.Minute, time.Hour}
	if _, err := h.js.UpdateConsumer(t.Context(), "ORDERS", edited); err != nil {
		t.Fatal(err)
	}
	d = h.start(c)
	h.publish("orders.created", "x")
	r.Wait(t, 1)
	if log := d.log.String(); !strings.Contains(log, "consumer changed") || !strings.Contains(log, "BackOff") {
		t.Error("the log does not say what was changed")
	}
	if consumer, err = h.js.Consumer(t.Context(), "ORDERS", "relay-billing"); err != nil {
		t.Fatal(err)
	}
	if now := consumer.CachedInfo().Config; now.MaxDeliver != -1 || len(now.BackOff) > 0 || now.AckWait != c.Routes[0].Consumer.AckWait {
		t.Errorf("MaxDeliver %d, BackOff %v, AckWait %s", now.MaxDeliver, now.BackOff, now.AckWait)
	}
}

// A message that waits in hand for its turn longer than its AckWait is still relay's:
// the server gives it to nobody else, and no attempt is counted that was not made.
func TestWaitsInHandForLongerThanAckWait(t *testing.T) {
	const messages = 4
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	c := config(t, strings.Replace(oneRoute, "webhook:", "rate_limit: { per_second: 0.5, burst: 1 }\n    webhook:", 1), r.URL)
	c.Routes[0].Consumer.AckWait = 2 * time.Second
	h.start(c)
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	testkit.Eventually(t, func() bool {
		consumer, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
		return err == nil && consumer.CachedInfo().NumPending == 0
	}, "all of them in hand")
	h.awaitSettled("ORDERS", "relay-billing")
	var got []string
	for _, q := range r.Requests() {
		got = append(got, string(q.Body)+" in attempt "+q.Header.Get("Relay-Attempt"))
	}
	slices.Sort(got)
	want := []string{"0 in attempt 1", "1 in attempt 1", "2 in attempt 1", "3 in attempt 1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if consumer, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing"); err != nil || consumer.CachedInfo().Delivered.Consumer != messages {
		t.Errorf("%v deliveries of %d messages: %v", consumer.CachedInfo().Delivered, messages, err)
	}
}

package dispatcher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// takenRoute gives its messages time to be taken before they are tried again.
const takenRoute = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>], retention: %s }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    webhook: { url: "%s/hook", timeout: 2s }
    retry: { max_attempts: 20, backoff: { initial: 3s, max: 3s } }
`

// What somebody else takes from relay's consumer, while relay runs or is down, becomes
// a dead letter if its stream still has it, and is told in any case.
func TestTakenMessages(t *testing.T) {
	for name, tt := range map[string]struct {
		retention string
		take      func(t *testing.T, h *house)
		by        string
		reason    dlqstore.Reason // empty: there is nothing left to keep
	}{
		"MaxDeliver":                 {"limits", setMaxDeliver("ORDERS", "relay-billing"), "max_deliver", dlqstore.Exhausted},
		"MaxDeliver on a work queue": {"workqueue", setMaxDeliver("ORDERS", "relay-billing"), "max_deliver", dlqstore.Exhausted},
		"terminated": {"limits", func(t *testing.T, h *house) {
			t.Helper()
			if _, err := h.js.Conn().Request("$JS.ACK.ORDERS.relay-billing.1.1.1.1.0", []byte("+TERM not wanted"), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}, "term", dlqstore.Aborted},
		"removed from the stream": {"limits", func(t *testing.T, h *house) {
			t.Helper()
			s, err := h.js.Stream(t.Context(), "ORDERS")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteMsg(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}, "removal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(409))
			c := config(t, takenRoute, tt.retention, r.URL)
			d := h.start(c)
			h.publish("orders.created", "body", "X-Y", "z")
			r.Wait(t, 1)
			testkit.Eventually(t, func() bool { return d.Status()[0].InFlight == 0 }, "the message to wait for its retry")
			d.stop()
			tt.take(t, h) // nobody listens
			d = h.start(c)
			told := fmt.Sprintf("by=%s ", tt.by)
			testkit.Eventually(t, func() bool { return strings.Contains(d.log.String(), told) }, "the log to tell %s", told)
			if !strings.Contains(d.log.String(), "route=billing stream=ORDERS stream_seq=1 consumer=relay-billing "+told) {
				t.Error("the log does not name the message")
			}
			dead := h.deadLetters("RELAY_DLQ")
			if tt.reason == "" {
				if len(dead) > 0 {
					t.Errorf("got %d dead letters of a message that has gone", len(dead))
				}
				return
			}
			if len(dead) != 1 || dead[0].Reason != tt.reason || string(dead[0].Payload) != "body" || dead[0].Headers["X-Y"][0] != "z" ||
				dead[0].StreamSequence != 1 || dead[0].ConsumerName != "relay-billing" || dead[0].Error == "" {
				t.Errorf("got dead letters %+v, want one with reason %s", dead, tt.reason)
			}
			h.awaitSettled("ORDERS", "relay-billing")
			if tt.retention == "workqueue" {
				testkit.Eventually(t, func() bool {
					s, err := h.js.Stream(t.Context(), "ORDERS")
					return err == nil && s.CachedInfo().State.Msgs == 0
				}, "the work queue to let go of the message")
			}
			h.awaitSettled("RELAY_ADVISORIES", "relay-advisories")
			if got := h.deadLetters("RELAY_DLQ"); len(got) != 1 {
				t.Errorf("got %d dead letters in the end, want 1", len(got))
			}
		})
	}
}

// setMaxDeliver changes one of relay's consumers so that the message's next delivery is
// one too many, and has somebody ask for it.
func setMaxDeliver(stream, consumer string) func(t *testing.T, h *house) {
	return func(t *testing.T, h *house) {
		t.Helper()
		c, err := h.js.Consumer(t.Context(), stream, consumer)
		if err != nil {
			t.Fatal(err)
		}
		config := c.CachedInfo().Config
		config.MaxDeliver = 1
		if c, err = h.js.UpdateConsumer(t.Context(), stream, config); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, func() bool {
			batch, err := c.FetchNoWait(1)
			if err != nil {
				t.Fatal(err)
			}
			for range batch.Messages() {
				t.Fatal("the message was delivered once more")
			}
			info, err := c.Info(t.Context())
			return err == nil && info.NumAckPending == 0
		}, "the consumer to give the message up")
	}
}

// A replay that is taken dies as a replay does: the table must not wait for its end.
func TestTakenReplay(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422, 409))
	c := config(t, takenRoute, "limits", r.URL)
	d := h.start(c)
	h.publish("orders.created", "body")
	dead := h.awaitDead(1)[0]
	if _, err := h.js.PublishMsg(t.Context(), dlqstore.Replay{DeadLetter: dead.DeadLetter, Number: 1}.Encode()); err != nil {
		t.Fatal(err)
	}
	r.Wait(t, 2)
	testkit.Eventually(t, func() bool { return d.Status()[0].InFlight == 0 }, "the replay to wait for its retry")
	d.stop()
	setMaxDeliver("RELAY_REPLAY", "relay-replay-billing")(t, h)
	h.start(c)
	if again := h.awaitDead(2)[1]; again.ID != dead.ID || again.Replay != 1 || again.Reason != dlqstore.Exhausted || string(again.Payload) != "body" {
		t.Errorf("got %+v", again)
	}
	testkit.Eventually(t, func() bool {
		s, err := h.js.Stream(t.Context(), "RELAY_REPLAY")
		return err == nil && s.CachedInfo().State.Msgs == 0
	}, "the replay lane to let go of the message")
}

// Neither what relay terminates itself, nor what happens on consumers that it does not
// manage, is told.
func TestSweepLeavesTheRestAlone(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422))
	d := h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "x")
	h.awaitDead(1)
	c, err := h.js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "theirs", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.TermWithReason("their own affair"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool {
		s, err := h.js.Stream(t.Context(), "RELAY_ADVISORIES")
		return err == nil && s.CachedInfo().State.Msgs == 2
	}, "both advisories")
	h.awaitSettled("RELAY_ADVISORIES", "relay-advisories")
	if strings.Contains(d.log.String(), "taken from relay") {
		t.Error("the log tells of it")
	}
	if dead := h.deadLetters("RELAY_DLQ"); len(dead) != 1 {
		t.Errorf("got %d dead letters, want relay's own only", len(dead))
	}
}

// Of two streams that would keep the advisories JetStream allows one. relay goes on
// without, and says what that means.
func TestAdvisoriesThatSomebodyElseKeeps(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "THEIRS", Subjects: []string{"$JS.EVENT.ADVISORY.>"}}); err != nil {
		t.Fatal(err)
	}
	d := h.start(config(t, oneRoute, r.URL))
	h.publish("orders.created", "x")
	r.Wait(t, 1)
	testkit.Eventually(t, func() bool {
		return d.Status()[0].State == dispatcher.StateRunning && strings.Contains(d.log.String(), "nobody is told of messages that others take")
	}, "the log to say that nobody is told")
	if strings.Contains(d.log.String(), "streams are not as they should be") {
		t.Error("a stream of somebody else's counts as a fault")
	}
}

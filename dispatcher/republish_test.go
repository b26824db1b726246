package dispatcher_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// A dead letter that is sent to its original subject is a new message for everybody who
// reads that subject, as often as the hop limit allows.
func TestRepublish(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(422))
	d := h.start(config(t, oneRoute, r.URL))
	theirs, err := h.js.CreateOrUpdateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "theirs", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	h.publish("orders.created", "body", "X-Y", "z", "X-Y", "w", "Nats-Msg-Id", "mine", "Status", "409")
	ids := map[string]bool{}
	for hop := range 4 {
		dead := h.awaitDead(hop + 1)[hop]
		ids[dead.ID] = true
		got, err := theirs.Next()
		if err != nil {
			t.Fatal(err)
		}
		headers := got.Headers()
		if string(got.Data()) != "body" || got.Subject() != "orders.created" || !slices.Equal(headers["X-Y"], []string{"z", "w"}) {
			t.Errorf("hop %d: got %q on %s with %v", hop, got.Data(), got.Subject(), headers)
		}
		if want := []string{"", "1", "2", "3"}[hop]; headers.Get("Relay-Hop") != want {
			t.Errorf("hop %d: Relay-Hop is %q", hop, headers.Get("Relay-Hop"))
		}
		if hop > 0 && (headers.Get("Nats-Msg-Id") == "mine" || headers.Get("Status") != "") {
			t.Errorf("hop %d: JetStream's headers came along: %v", hop, headers)
		}
		err = d.Republish(t.Context(), dead.DeadLetter)
		if again := d.Republish(t.Context(), dead.DeadLetter); hop < 3 && again != nil {
			t.Error(again)
		}
		if hop < 3 && err != nil {
			t.Fatal(err)
		}
		if hop == 3 && (err == nil || !strings.Contains(err.Error(), "3 times already")) {
			t.Errorf("a fourth time: %v", err)
		}
	}
	h.awaitSettled("ORDERS", "relay-billing")
	if n := len(r.Requests()); n != 4 || len(ids) != 4 {
		t.Errorf("got %d requests for %d messages, want 4 each: a second click sends nothing", n, len(ids))
	}
}

func TestRepublishRefusals(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, oneRoute, r.URL))
	err := d.Republish(t.Context(), dlqstore.DeadLetter{ID: "msg_x", OriginalSubject: "nobody.keeps.this"})
	if err == nil || !strings.Contains(err.Error(), `"nobody.keeps.this"`) {
		t.Errorf("no stream: got %v", err)
	}
	// Somebody else's circle ends too.
	h.publish("orders.created", "x", "Relay-Hop", "4")
	if got := h.awaitDead(1)[0]; got.Reason != dlqstore.Poison || !strings.Contains(got.Error, "circle") {
		t.Errorf("got reason %s, %q", got.Reason, got.Error)
	}
	h.publish("orders.created", "y", "Relay-Hop", "rubbish")
	r.Wait(t, 1)
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "the route to run on")
}

package dispatcher_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// Two of three servers are down: the dead-letter stream has no leader, and neither has
// JetStream itself, while the source, which lies on the third alone, goes on. Messages
// stay there, the route says what it waits for and goes on by itself; the dead letters
// tell what the receiver said, which was asked once.
func TestDeadLetterStreamWithoutLeader(t *testing.T) {
	const messages = 5
	nodes := testkit.Cluster(t)
	js := nodes[0].JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}, Replicas: 3, Discard: jetstream.DiscardNew, Duplicates: 24 * time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	source, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	var alone, others = nodes[0], []*testkit.Server{}
	for i, n := range nodes {
		if fmt.Sprintf("test-%d", i) == source.CachedInfo().Cluster.Leader {
			alone = n
		} else {
			others = append(others, n)
		}
	}

	h, r := &house{t: t, nats: alone, js: alone.JetStream(t)}, testkit.NewReceiver(t, testkit.Status(422))
	d := h.start(config(t, oneRoute, r.URL))
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running")
	testkit.Eventually(t, func() bool { _, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing"); return err == nil }, "the consumer")
	for _, n := range others {
		n.Stop()
	}
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	r.Wait(t, messages)
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateNoDeadLetters }, "state dead_letter_unavailable")
	if s := d.Status()[0]; s.Reason == "" {
		t.Error("the state has no reason")
	}

	for _, n := range others {
		n.Start(t)
	}
	testkit.Eventually(t, func() bool { // a request that nobody answers must not use up the patience
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := h.js.Stream(ctx, "RELAY_DLQ")
		return err == nil && s.CachedInfo().State.Msgs == messages
	}, "%d dead letters", messages)
	h.awaitSettled("ORDERS", "relay-billing")
	testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateRunning }, "state running again")
	seen := map[string]bool{}
	for _, dead := range h.deadLetters("RELAY_DLQ") {
		seen[string(dead.Payload)] = true
		if dead.Reason != dlqstore.Rejected || dead.Status != 422 || dead.RetryCount != 1 {
			t.Errorf("message %s: got %s after %d attempts, status %d (%s); want what the receiver said at first",
				dead.Payload, dead.Reason, dead.RetryCount, dead.Status, dead.Error)
		}
	}
	if len(seen) != messages {
		t.Errorf("dead letters of %d messages, want %d", len(seen), messages)
	}
	if n := len(r.Requests()); n != messages {
		t.Errorf("%d requests, want one for each of the %d messages", n, messages)
	}
}

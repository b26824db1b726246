package chaos_test

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func consumerDeleted(h *house) {
	h.start(relayOptions{})
	h.warm()
	l := h.flow(100)
	defer l.end()
	for range 3 {
		h.pause(2*time.Second, 4*time.Second)
		h.strike(func() {
			if err := h.js.DeleteConsumer(h.t.Context(), "ORDERS", "relay-billing"); err != nil {
				h.t.Fatal(err)
			}
		})
		h.goesOn(l)
	}
}

func (h *house) stream(name string) jetstream.Stream {
	h.t.Helper()
	s, err := h.js.Stream(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func purged(h *house) {
	h.start(relayOptions{})
	h.warm()
	h.receiver.answer(always(http.StatusServiceUnavailable))
	h.await(h.publish(300, 300))
	if err := h.stream("ORDERS").Purge(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.takeAway()
	h.receiver.answer(h.mixed)
	h.await(h.publish(300, 150))
}

func recreated(h *house) {
	h.start(relayOptions{})
	h.warm()
	h.receiver.answer(h.slower(50 * time.Millisecond))
	h.await(h.publish(300, 300))
	config := h.stream("ORDERS").CachedInfo().Config
	h.strike(func() {
		if err := h.js.DeleteStream(h.t.Context(), "ORDERS"); err != nil {
			h.t.Fatal(err)
		}
	})
	h.takeAway()
	h.receiver.answer(h.mixed)
	h.pause(0, 3*time.Second)
	if _, err := h.js.CreateOrUpdateStream(h.t.Context(), config); err != nil {
		h.t.Fatal(err)
	}
	h.await(h.publish(300, 150))
}

// limitDeadLetters sets how many messages the dead-letter stream takes.
func (h *house) limitDeadLetters(n int64) {
	h.t.Helper()
	config := h.stream(deadLetters).CachedInfo().Config
	config.MaxMsgs = n
	if _, err := h.js.UpdateStream(h.t.Context(), config); err != nil {
		h.t.Fatal(err)
	}
}

func deadLettersFull(h *house) {
	h.start(relayOptions{})
	h.warm()
	h.limitDeadLetters(int64(h.stream(deadLetters).CachedInfo().State.Msgs) + 20)
	h.await(h.publish(500, 150))
	h.pause(8*time.Second, 10*time.Second)
	if h.unsettled() == "" {
		h.t.Error("nothing waits, although the dead-letter stream is full")
	}
	h.limitDeadLetters(-1)
}

func deadLettersMissing(h *house) {
	h.start(relayOptions{})
	h.warm() // the table has all of it now
	if err := h.js.DeleteStream(h.t.Context(), deadLetters); err != nil {
		h.t.Fatal(err)
	}
	h.deadStreamGone = true
	h.await(h.publish(300, 150))
}

// streamDeleted takes the stream of a third route away for good, while many of its
// messages are under way and its dead letters are not in the table.
func streamDeleted(h *house) {
	const stream, route = "INVOICES", "archive"
	if _, err := h.js.CreateStream(h.t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"invoices.>"}}); err != nil {
		h.t.Fatal(err)
	}
	h.writeRoutes(h.routesYAML() + fmt.Sprintf("  - { name: %s, stream: %s, filter_subjects: [invoices.>], webhook: { url: %q } }\n",
		route, stream, h.receiver.srv.URL+"/"+route))
	r := h.start(relayOptions{})
	h.warm()
	if err := h.pg.Stop("fast"); err != nil {
		h.t.Fatal(err)
	}
	h.receiver.answer(h.slower(100 * time.Millisecond))
	others := h.flow(30)
	doomed := h.publishTo("invoices", []string{route}, 400, 400)
	h.await(doomed)
	await(h.t, patience, "ten dead letters of the route", func() bool { return len(h.deadOf(route)) >= 10 })
	h.strike(func() {
		if err := h.js.DeleteStream(h.t.Context(), stream); err != nil {
			h.t.Fatal(err)
		}
	})
	doomed.takeAway()
	dead := h.deadOf(route)
	await(h.t, patience, "the route to say what became of its stream", func() bool {
		_, body, err := r.get("/api/v1/routes/" + route)
		return err == nil && bytes.Contains(body, []byte(`"state":"waiting_for_stream"`))
	})
	h.goesOn(others)
	others.end()
	h.behind()
	if err := h.pg.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.settle()
	h.note("%d dead letters were not in the table when the stream went", len(dead))
	// That the table has the row of each, the ledger sees.
	now := h.deadOf(route)
	for id := range dead {
		if !now[id] {
			h.t.Errorf("dead letter %s went with the stream that its message came from", id)
		}
	}
	if err := r.replay(route, ""); err != nil {
		h.t.Errorf("replay what is dead: %v", err)
	}
}

// deadOf are the ids of the dead letters that the stream has of a route.
func (h *house) deadOf(route string) map[string]bool {
	h.t.Helper()
	all, err := h.deadInStream(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, m := range all {
		if m.Route == route {
			ids[m.ID] = true
		}
	}
	return ids
}

package dispatcher_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

// Where a route begins on a stream that has messages already, and that it gets those of
// all its filter subjects and no others.
func TestDeliverPolicies(t *testing.T) {
	h := newHouse(t)
	if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	var since time.Time
	for i, subject := range []string{"orders.a", "orders.b", "orders.c", "orders.a", "orders.b"} {
		h.publish(subject, fmt.Sprint(i+1))
		if i == 2 {
			s, err := h.js.Stream(t.Context(), "ORDERS")
			if err != nil {
				t.Fatal(err)
			}
			since = s.CachedInfo().State.LastTime.Add(time.Nanosecond)
		}
	}
	want := map[string][]string{ // policy → bodies; 6 is published while the route runs
		"{ deliver_policy: all }":                                  {"1", "2", "4", "5", "6"},
		"{ deliver_policy: new }":                                  {"6"},
		"{ deliver_policy: last }":                                 {"5", "6"},
		"{ deliver_policy: last_per_subject }":                     {"4", "5", "6"},
		"{ deliver_policy: by_start_sequence, start_sequence: 4 }": {"4", "5", "6"},
		"{ deliver_policy: by_start_time, start_time: " + since.Format(time.RFC3339Nano) + " }": {"4", "5", "6"},
	}
	yaml, receivers := "version: 1\nroutes:\n", map[string]*testkit.Receiver{}
	for policy := range want {
		r := testkit.NewReceiver(t, nil)
		yaml += fmt.Sprintf("  - { name: r%d, stream: ORDERS, filter_subjects: [orders.a, orders.b], consumer: %s, webhook: { url: %q } }\n",
			len(receivers), policy, r.URL)
		receivers[policy] = r
	}
	d := h.start(config(t, "%s", yaml))
	for _, s := range d.Status() {
		testkit.Eventually(t, func() bool {
			_, err := h.js.Consumer(t.Context(), "ORDERS", s.Route.Consumer.Durable)
			return err == nil
		}, "consumer %s", s.Route.Consumer.Durable)
	}
	h.publish("orders.a", "6")
	for policy, bodies := range want {
		var got []string
		for _, q := range receivers[policy].Wait(t, len(bodies)) {
			got = append(got, string(q.Body))
		}
		slices.Sort(got)
		if !slices.Equal(got, bodies) {
			t.Errorf("%s: got %v, want %v", policy, got, bodies)
		}
	}
}

// Streams of every kind are read, mirrors too; a work queue and an interest stream let
// go of what is delivered and of what is a dead letter.
func TestStreamKinds(t *testing.T) {
	for name, tt := range map[string]struct {
		config jetstream.StreamConfig
		left   uint64 // messages in the stream in the end
	}{
		"limits":     {jetstream.StreamConfig{Subjects: []string{"orders.>"}}, 3},
		"work queue": {jetstream.StreamConfig{Subjects: []string{"orders.>"}, Retention: jetstream.WorkQueuePolicy}, 0},
		"interest":   {jetstream.StreamConfig{Subjects: []string{"orders.>"}, Retention: jetstream.InterestPolicy}, 0},
		"mirror":     {jetstream.StreamConfig{Mirror: &jetstream.StreamSource{Name: "ORIGIN"}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
				if string(q.Body) == "bad" {
					w.WriteHeader(http.StatusUnprocessableEntity)
				}
			})
			if tt.config.Mirror != nil {
				if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"orders.>"}}); err != nil {
					t.Fatal(err)
				}
			}
			tt.config.Name = "ORDERS"
			stream, err := h.js.CreateStream(t.Context(), tt.config)
			if err != nil {
				t.Fatal(err)
			}
			h.start(config(t, strings.Replace(oneRoute, "streams: [{ name: ORDERS, subjects: [orders.>] }]", "", 1), r.URL))
			testkit.Eventually(t, func() bool { _, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing"); return err == nil }, "the consumer")
			for _, body := range []string{"one", "bad", "two"} {
				h.publish("orders.created", body)
			}
			r.Wait(t, 3)
			if dead := h.awaitDead(1); dead[0].Stream != "ORDERS" || string(dead[0].Payload) != "bad" {
				t.Errorf("got dead letter %+v", dead[0])
			}
			testkit.Eventually(t, func() bool {
				info, err := stream.Info(t.Context())
				return err == nil && info.State.Msgs == tt.left
			}, "%d messages left in the stream", tt.left)
			h.awaitSettled("ORDERS", "relay-billing")
			if n := len(r.Requests()); n != 3 {
				t.Errorf("got %d requests, want 3", n)
			}
		})
	}
}

package dispatcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"relay/dispatcher"
	"relay/internal/testkit"
)

// Routes that start together ask for their stream once, however many they are, and know
// where their consumers stand when they say that they run.
func TestStartAsksForAStreamOnce(t *testing.T) {
	const routeCount, messages = 20, 3
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	var yaml strings.Builder
	yaml.WriteString("streams: [{ name: ORDERS, subjects: [orders.>] }]\nroutes:\n")
	for n := range routeCount {
		fmt.Fprintf(&yaml, "  - { name: r%d, stream: ORDERS, filter_subjects: [orders.created], webhook: { url: %q } }\n", n, r.URL)
	}
	c := config(t, "%s", yaml.String())
	d := h.start(c)
	for range messages {
		h.publish("orders.created", "x")
	}
	r.Wait(t, routeCount*messages)
	for n := range routeCount {
		h.awaitSettled("ORDERS", fmt.Sprint("relay-r", n))
	}
	d.stop()

	asked := make(chan struct{}, 10*routeCount)
	conn := h.nats.Conn(t)
	if _, err := conn.Subscribe("$JS.API.STREAM.INFO.ORDERS", func(*nats.Msg) { asked <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	d = h.start(c)
	testkit.Eventually(t, func() bool {
		all := d.Status()
		for _, s := range all {
			if s.State == dispatcher.StateRunning && s.Position != messages {
				t.Fatalf("route %s runs and stands at %d, want %d", s.Route.Name, s.Position, messages)
			}
		}
		return !slices.ContainsFunc(all, func(s dispatcher.Status) bool { return s.State != dispatcher.StateRunning })
	}, "all routes to run")
	if err := conn.Flush(); err != nil { // behind it is what was asked before
		t.Fatal(err)
	}
	// Prepare asks, and the first look of all routes.
	if n := len(asked); n == 0 || n >= routeCount {
		t.Errorf("the stream was asked for %d times, want 2", n)
	}
}

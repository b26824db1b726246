package dispatcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
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

// Routes whose consumers nobody answers for do not hold up the figures of the others.
func TestSilentConsumersHoldUpNoFigures(t *testing.T) {
	h := &house{t: t, nats: testkit.NATS(t, func(o *server.Options) {
		o.NoAuthUser = "admin"
		o.Users = []*server.User{{Username: "admin", Password: "x"}, {Username: "relay", Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.INFO.SILENT.*"}},
		}}}
	})}
	h.js = h.nats.JetStream(t)
	r := testkit.NewReceiver(t, nil)
	var yaml strings.Builder
	yaml.WriteString("streams: [{ name: ORDERS, subjects: [orders.>] }, { name: SILENT, subjects: [silent.>] }]\nroutes:\n")
	for n := range 8 {
		fmt.Fprintf(&yaml, "  - { name: silent%d, stream: SILENT, filter_subjects: [silent.x], webhook: { url: %q } }\n", n, r.URL)
	}
	fmt.Fprintf(&yaml, "  - { name: billing, stream: ORDERS, filter_subjects: [orders.created], webhook: { url: %q } }\n", r.URL)
	d := h.start(config(t, "%s", yaml.String()), func(o *dispatcher.Options) { o.Conn = h.nats.Conn(t, nats.UserInfo("relay", "x")) })
	billing := func() dispatcher.Status { return d.Status()[8] }
	testkit.Eventually(t, func() bool { return billing().State == dispatcher.StateRunning }, "billing to run")
	h.publish("orders.created", "x")
	testkit.Eventually(t, func() bool { return billing().Position == 1 }, "billing's figures to be read")
}

package dispatcher_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/internal/testkit"
	"relay/routes"
)

// planRoutes has holes for: retention, deliver policy, ack_wait, URL.
const planRoutes = `
streams: [{ name: ORDERS, subjects: [orders.>], retention: %s }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    consumer: { deliver_policy: %s, ack_wait: %s }
    webhook: { url: "%s", timeout: 10s }
`

func (h *house) plan(c *routes.Config) *dispatcher.Plan {
	h.t.Helper()
	p, err := dispatcher.NewPlan(h.t.Context(), h.js, c)
	if err != nil {
		h.t.Fatalf("plan: %v", err)
	}
	return p
}

// actions are the steps of a plan that do something, as ACTION TARGET, relay's own
// streams left out but for the first.
func actions(p *dispatcher.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		own := s.Consumer == "" && strings.HasPrefix(s.Stream, "RELAY_") && s.Stream != "RELAY_DLQ"
		if s.Action != dispatcher.Leave && !own {
			out = append(out, string(s.Action)+" "+s.Target())
		}
	}
	return out
}

func running1(d *running) func() bool {
	return func() bool { return d.Status()[0].State == dispatcher.StateRunning }
}

// What the plan says is what a run does: after it there is nothing left to do.
func TestPlanIsWhatARunDoes(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	c := config(t, planRoutes, "limits", "all", "30s", r.URL)
	want := []string{
		`create stream "ORDERS"`, `create stream "RELAY_DLQ"`,
		`create consumer "relay-billing" of stream "ORDERS"`, `create consumer "relay-replay-billing" of stream "RELAY_REPLAY"`,
	}
	if got := actions(h.plan(c)); !slices.Equal(got, want) {
		t.Errorf("on an empty server:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	d := h.start(c)
	testkit.Eventually(t, func() bool { return len(actions(h.plan(c))) == 0 }, "nothing left to do")
	d.stop()

	c = config(t, planRoutes, "limits", "all", "45s", r.URL)
	p := h.plan(c)
	want = []string{`update consumer "relay-billing" of stream "ORDERS"`, `update consumer "relay-replay-billing" of stream "RELAY_REPLAY"`}
	if got := actions(p); !slices.Equal(got, want) {
		t.Errorf("after a change of ack_wait: %q, want %q", got, want)
	}
	for _, s := range p.Steps {
		if s.Action == dispatcher.Update && (len(s.Changes) != 1 || s.Changes[0].String() != "ack_wait: 30s → 45s") {
			t.Errorf("%s: changes %v, want ack_wait: 30s → 45s", s.Target(), s.Changes)
		}
	}
	h.start(c)
	testkit.Eventually(t, func() bool { return len(actions(h.plan(c))) == 0 }, "nothing left to do")
}

// A recreate happens only when it is allowed, and goes on where the consumer stood:
// on an interest stream without letting go of what is still to be delivered.
func TestRecreateKeepsThePosition(t *testing.T) {
	for _, retention := range []string{"limits", "interest", "workqueue"} {
		t.Run(retention, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			// On a work-queue stream a consumer can only begin with all: there it is made to
			// look as if the file had said something else.
			before, after := "new", "all"
			if retention == "workqueue" {
				before = "all"
			}
			d := h.start(config(t, planRoutes, retention, before, "30s", r.URL))
			testkit.Eventually(t, running1(d), "the route to run")
			for i := range 5 {
				h.publish("orders.created", fmt.Sprint(i))
			}
			r.Wait(t, 5)
			testkit.Eventually(t, func() bool { return d.Status()[0].Position == 5 }, "5 messages to be settled")
			d.stop()
			for i := 5; i < 10; i++ {
				h.publish("orders.created", fmt.Sprint(i))
			}
			if retention == "workqueue" {
				h.retouch("ORDERS", "relay-billing")
			}

			c := config(t, planRoutes, retention, after, "30s", r.URL)
			p := h.plan(c)
			if got := actions(p); !slices.Equal(got, []string{`recreate consumer "relay-billing" of stream "ORDERS"`}) {
				t.Fatalf("plan: %q, want a recreate", got)
			}
			d = h.start(c)
			testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateMisconfigured }, "the route to be refused")
			if reason := d.Status()[0].Reason; !strings.Contains(reason, "--allow-recreate") {
				t.Errorf("reason %q does not tell of --allow-recreate", reason)
			}
			d.stop()
			d = h.start(c, func(o *dispatcher.Options) { o.AllowRecreate = true })
			r.Wait(t, 10)
			testkit.Eventually(t, func() bool { return d.Status()[0].Position == 10 }, "10 messages to be settled")
			var got []string
			for _, q := range r.Requests() {
				got = append(got, string(q.Body))
			}
			slices.Sort(got)
			if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(got, want) {
				t.Errorf("delivered %q, want each once", got)
			}
			if got := h.consumers("ORDERS"); !slices.Equal(got, []string{"relay-billing"}) {
				t.Errorf("consumers %q, want relay-billing alone", got)
			}
		})
	}
}

// retouch gives a consumer another start in its metadata, so that it must be recreated.
func (h *house) retouch(stream, consumer string) {
	h.t.Helper()
	c, err := h.js.Consumer(h.t.Context(), stream, consumer)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	cfg.Metadata["relay.start"] = "new"
	if _, err := h.js.UpdateConsumer(h.t.Context(), stream, cfg); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) consumers(stream string) []string {
	h.t.Helper()
	s, err := h.js.Stream(h.t.Context(), stream)
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for name := range s.ConsumerNames(h.t.Context()).Name() {
		names = append(names, name)
	}
	return names
}

// A recreate that was cut off, before or after the consumer came back, is gone on with.
func TestInterruptedRecreate(t *testing.T) {
	for name, cutOff := range map[string]func(h *house){
		"the consumer is deleted": func(h *house) {
			if err := h.js.DeleteConsumer(h.t.Context(), "ORDERS", "relay-billing"); err != nil {
				h.t.Fatal(err)
			}
		},
		"the consumer is back": func(h *house) {
			c, err := h.js.Consumer(h.t.Context(), "ORDERS", "relay-billing")
			if err != nil {
				h.t.Fatal(err)
			}
			cfg := c.CachedInfo().Config
			cfg.Metadata["relay.from"] = "4"
			if _, err := h.js.UpdateConsumer(h.t.Context(), "ORDERS", cfg); err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			c := config(t, planRoutes, "interest", "new", "30s", r.URL)
			d := h.start(c)
			testkit.Eventually(t, running1(d), "the route to run")
			for i := range 3 {
				h.publish("orders.created", fmt.Sprint(i))
			}
			r.Wait(t, 3)
			testkit.Eventually(t, func() bool { return d.Status()[0].Position == 3 }, "3 messages to be settled")
			d.stop()
			if _, err := h.js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{
				Durable: "relay-keep-relay-billing", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"orders.>"},
				DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 4, Metadata: map[string]string{"relay.route": "billing"},
			}); err != nil {
				t.Fatal(err)
			}
			cutOff(h)
			h.publish("orders.created", "3")
			h.start(c)
			r.Wait(t, 4)
			testkit.Eventually(t, func() bool { return slices.Equal(h.consumers("ORDERS"), []string{"relay-billing"}) }, "the keeper to go")
			if n := len(r.Requests()); n != 4 {
				t.Errorf("%d deliveries, want 4", n)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	if _, err := h.js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "relay-billing"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "relay-other", Metadata: map[string]string{"relay.route": "third"}}); err != nil {
		t.Fatal(err)
	}
	p := h.plan(config(t, `
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults: { stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "http://127.0.0.1:1" } }
routes: [{ name: billing }, { name: other }, { name: lost, stream: LOST }]
`))
	want := map[string]string{
		`stream "ORDERS"`: "storage: memory → file",
		`consumer "relay-billing" of stream "ORDERS"`: "not managed by relay",
		`consumer "relay-other" of stream "ORDERS"`:   `belongs to route "third"`,
		`consumer "relay-lost" of stream "LOST"`:      "list it under streams:",
	}
	for _, s := range p.Steps {
		text, ok := want[s.Target()]
		if ok != (s.Action == dispatcher.Refuse) {
			t.Errorf("%s: action %s", s.Target(), s.Action)
		}
		if !strings.Contains(s.Note, text) {
			t.Errorf("%s: note %q, want it to contain %q", s.Target(), s.Note, text)
		}
		delete(want, s.Target())
	}
	for target := range want {
		t.Errorf("no step for %s", target)
	}
}

// A consumer whose route has gone is an orphan; one that somebody still pulls from,
// or that is not relay's, is none.
func TestPrune(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	two := config(t, `
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults: { stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "%s" } }
routes: [{ name: billing }, { name: old }]
`, r.URL)
	one := config(t, planRoutes, "limits", "all", "30s", r.URL)
	d := h.start(two)
	testkit.Eventually(t, func() bool { return d.Status()[0].NumWaiting > 0 && d.Status()[1].NumWaiting > 0 }, "both routes to pull")
	if orphans := h.plan(one).Orphans; len(orphans) > 0 {
		t.Errorf("orphans %v while somebody pulls", orphans)
	}
	d.stop()
	h.publish("orders.created", "1")
	if _, err := h.js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "theirs"}); err != nil {
		t.Fatal(err)
	}
	var p *dispatcher.Plan
	testkit.Eventually(t, func() bool { p = h.plan(one); return len(p.Orphans) == 2 }, "two orphans")
	want := []dispatcher.Orphan{{Route: "old", Stream: "ORDERS", Consumer: "relay-old", NumPending: 1}, {Route: "old", Stream: "RELAY_REPLAY", Consumer: "relay-replay-old"}}
	if !slices.Equal(p.Orphans, want) {
		t.Errorf("orphans %+v, want %+v", p.Orphans, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := p.Prune(ctx, h.js); err != nil {
		t.Fatal(err)
	}
	if got := h.consumers("ORDERS"); !slices.Equal(got, []string{"relay-billing", "theirs"}) {
		t.Errorf("consumers after the prune: %q", got)
	}
}

package dispatcher_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/internal/testkit"
	"relay/routes"
)

// twoRoutes has a hole for what stands after the URL of the second route, and the URLs.
func twoRoutes(t testing.TB, url, more string) *routes.Config {
	t.Helper()
	return config(t, `
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults: { stream: ORDERS }
routes:
  - { name: steady, filter_subjects: [orders.steady], consumer: { ack_wait: 5m }, webhook: { url: "%s/steady", timeout: 2m } }
`+more, url)
}

func (r *running) state(name string) dispatcher.State {
	for _, s := range r.Status() {
		if s.Route.Name == name {
			return s.State
		}
	}
	return ""
}

// 50 reloads change, remove and bring back a route while another one delivers: that
// one loses nothing and delivers nothing twice. Nor is it stopped and started: no
// reload waits for the delivery that it has under way all the time.
func TestReloadLeavesOthersAlone(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	release := make(chan struct{})
	r.Answer(func(w http.ResponseWriter, q testkit.Request) {
		if string(q.Body) == "0" {
			<-release
		}
		w.WriteHeader(http.StatusNoContent)
	})
	d := h.start(twoRoutes(t, r.URL, ""))
	testkit.Eventually(t, func() bool { return d.state("steady") == dispatcher.StateRunning }, "the route to run")

	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		for i := range 50 {
			more := ""
			if i%3 != 0 {
				more = fmt.Sprintf(`  - { name: other, filter_subjects: [orders.other], webhook: { url: "%s/other/%d" } }`, r.URL, i)
			}
			if err := d.Apply(t.Context(), twoRoutes(t, r.URL, more)); err != nil {
				t.Errorf("reload %d: %v", i, err)
			}
		}
	}()
	sent := 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for more := true; more; sent++ {
		select {
		case <-patience.C:
			close(release)
			t.Fatal("50 reloads have not ended after a minute")
		case <-reloaded:
			more = false
		case <-tick.C:
		}
		if _, err := h.js.PublishAsync("orders.steady", fmt.Append(nil, sent)); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	r.Wait(t, sent)
	testkit.Eventually(t, func() bool { s := d.Status()[0]; return s.Position >= uint64(sent) && s.NumAckPending == 0 }, "all to be settled")
	seen := map[string]int{}
	for _, q := range r.Requests() {
		seen[string(q.Body)]++
	}
	if len(seen) != sent || len(r.Requests()) != sent {
		t.Errorf("%d deliveries of %d messages, %d were sent", len(r.Requests()), len(seen), sent)
	}
}

// A delivery under way ends by the old settings; what follows goes by the new ones.
func TestReloadLetsDeliveriesEnd(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	r.Answer(func(w http.ResponseWriter, q testkit.Request) {
		if q.Path == "/old" {
			entered <- struct{}{}
			<-release
		}
		w.WriteHeader(http.StatusNoContent)
	})
	yaml := `
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes: [{ name: billing, stream: ORDERS, filter_subjects: [orders.>], concurrency: 2, webhook: { url: "%s/%s" } }]
`
	d := h.start(config(t, yaml, r.URL, "old"))
	testkit.Eventually(t, func() bool { return d.state("billing") == dispatcher.StateRunning }, "the route to run")
	h.publish("orders.created", "1")
	<-entered
	waiting := func() int {
		c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
		if err != nil {
			return -1
		}
		return c.CachedInfo().NumWaiting
	}
	testkit.Eventually(t, func() bool { return waiting() > 0 }, "the route to ask for more")
	applied := make(chan error, 1)
	go func() { applied <- d.Apply(t.Context(), config(t, yaml, r.URL, "new")) }()
	testkit.Eventually(t, func() bool { return waiting() == 0 }, "the route to take nothing new")
	h.publish("orders.created", "2")
	select {
	case err := <-applied:
		t.Fatalf("applied (%v) while a delivery by the old settings is under way", err)
	default:
	}
	close(release)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	r.Wait(t, 2)
	testkit.Eventually(t, func() bool { return d.Status()[0].Position == 2 }, "both to be settled")
	var got []string
	for _, q := range r.Requests() {
		got = append(got, q.Path+" "+string(q.Body))
	}
	if want := []string{"/old 1", "/new 2"}; !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
	if s := d.Status()[0]; s.Delivered != 2 {
		t.Errorf("delivered %d, want 2: the figures go on", s.Delivered)
	}
}

// A file of which something cannot run leaves everything as it was.
func TestReloadIsAllOrNothing(t *testing.T) {
	const yaml = `
defaults: { stream: JOBS }
routes:
  - { name: one, filter_subjects: [jobs.one], webhook: { url: "%s/%s" } }
`
	for name, test := range map[string]struct{ more, want string }{
		"seen before anything is touched": {`  - { name: two, stream: LOST, filter_subjects: [lost.>], webhook: { url: "http://127.0.0.1:1" } }`, "list it under streams:"},
		"refused by the server midway": {`  - { name: two, filter_subjects: [jobs.two], webhook: { url: "http://127.0.0.1:1" } }
  - { name: three, filter_subjects: [jobs.three], consumer: { deliver_policy: new }, webhook: { url: "http://127.0.0.1:1" } }`, `route "three": create consumer "relay-three"`},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			if _, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "JOBS", Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy,
			}); err != nil {
				t.Fatal(err)
			}
			d := h.start(config(t, yaml, r.URL, "old"))
			testkit.Eventually(t, func() bool { return d.state("one") == dispatcher.StateRunning }, "the route to run")
			h.publish("jobs.one", "1")
			r.Wait(t, 1)
			err := d.Apply(t.Context(), config(t, yaml+test.more, r.URL, "new"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q in it", err, test.want)
			}
			h.publish("jobs.one", "2")
			r.Wait(t, 2)
			for _, q := range r.Requests() {
				if q.Path != "/old" {
					t.Errorf("request to %s by settings that were refused", q.Path)
				}
			}
			if got := h.consumers("JOBS"); !slices.Equal(got, []string{"relay-one"}) {
				t.Errorf("consumers %q, want relay-one alone", got)
			}
			if n := len(d.Status()); n != 1 {
				t.Errorf("%d routes in force, want 1", n)
			}
		})
	}
}

// A route that the file no longer has leaves its consumer, seen as an orphan with what
// waits in it; when the route comes back it goes on there.
func TestRemovedRouteIsAnOrphan(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	both := twoRoutes(t, r.URL, `  - { name: other, filter_subjects: [orders.other], webhook: { url: "http://127.0.0.1:1" } }`)
	d := h.start(both)
	testkit.Eventually(t, func() bool { return d.state("other") == dispatcher.StateRunning }, "the route to run")
	if err := d.Apply(t.Context(), twoRoutes(t, r.URL, "")); err != nil {
		t.Fatal(err)
	}
	h.publish("orders.other", "1")
	var orphan dispatcher.Status
	testkit.Eventually(t, func() bool {
		all := d.Status()
		orphan = all[len(all)-1]
		return orphan.State == dispatcher.StateOrphan
	}, "the orphan")
	if orphan.Route.Name != "other" || orphan.Route.Consumer.Durable != "relay-other" || orphan.NumPending > 1 {
		t.Errorf("orphan %+v", orphan)
	}
	if err := d.Pause(t.Context(), "other"); !errors.Is(err, dispatcher.ErrNoRoute) {
		t.Errorf("pause of an orphan: %v, want ErrNoRoute", err)
	}
	back := twoRoutes(t, r.URL, fmt.Sprintf(`  - { name: other, filter_subjects: [orders.other], webhook: { url: "%s/other" } }`, r.URL))
	if err := d.Apply(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if n := len(d.Status()); n != 2 {
		t.Errorf("%d routes, want 2 and no orphan", n)
	}
	if got := r.Wait(t, 1); got[0].Path != "/other" {
		t.Errorf("request to %s, want /other", got[0].Path)
	}
}

// A file that begins to tell somebody of a route's changes is put in force as any other:
// the stream of events is relay's to make.
func TestReloadBeginsToNotify(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, oneRoute, r.URL))
	testkit.Eventually(t, func() bool { return d.state("billing") == dispatcher.StateRunning }, "the route to run")
	next := config(t, oneRoute+"    notify: { webhook: { url: \"%s/alerts\" } }\n", r.URL, r.URL)
	for _, s := range h.plan(next).Steps {
		if s.Action == dispatcher.Refuse {
			t.Errorf("%s is refused: %s", s.Target(), s.Note)
		}
	}
	if err := d.Apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return d.state("relay-notify") == dispatcher.StateRunning }, "the route of the events to run")
}

// Messages of a route that an operator has paused wait in their stream until they
// resume it.
func TestPause(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	d := h.start(config(t, oneRoute, r.URL))
	testkit.Eventually(t, func() bool { return d.state("billing") == dispatcher.StateRunning }, "the route to run")
	if err := d.Pause(t.Context(), "billing"); err != nil {
		t.Fatal(err)
	}
	if s := d.Status()[0]; s.State != dispatcher.StatePaused || s.Reason == "" {
		t.Errorf("state %s (%s), want paused", s.State, s.Reason)
	}
	h.publish("orders.created", "1")
	testkit.Eventually(t, func() bool { return d.Status()[0].NumPending == 1 }, "the message to wait")
	if n := len(r.Requests()); n != 0 {
		t.Errorf("%d requests of a paused route", n)
	}
	nc := h.nats.Conn(t)
	asked, err := nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.ORDERS.relay-billing")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Resume(t.Context(), "billing"); err != nil {
		t.Fatal(err)
	}
	if m, err := asked.NextMsg(5 * time.Second); err != nil || !strings.Contains(string(m.Data), `"max_bytes":1,`) {
		t.Errorf("the server is not brought to look at once: %v %v", m, err)
	}
	r.Wait(t, 1)
	testkit.Eventually(t, func() bool { return d.state("billing") == dispatcher.StateRunning }, "the route to run again")
}

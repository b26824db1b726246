package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

const ordersRoute = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    concurrency: 4
    consumer: { ack_wait: 20s }
    webhook: { url: "%s", timeout: 10s }
    retry: { max_attempts: 3, backoff: { initial: 20ms, max: 100ms } }
`

// house is the servers that a process is run against.
type house struct {
	t        *testing.T
	nats     *testkit.Server
	js       jetstream.JetStream
	database string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	s := testkit.NATS(t)
	return &house{t: t, nats: s, js: s.JetStream(t), database: testkit.Postgres(t)}
}

func (h *house) run(routes string, more ...string) *process {
	h.t.Helper()
	return relay(h.t, append([]string{"run", "--routes", routes, "--nats", h.nats.URL, "--database", h.database, "--admin", "127.0.0.1:0"}, more...)...)
}

// publish sends n numbered messages and waits until the stream has them.
func (h *house) publish(from, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, func() bool { _, err := h.js.Stream(context.Background(), "ORDERS"); return err == nil }, "stream ORDERS")
	for i := from; i < from+n; i++ {
		if _, err := h.js.PublishAsync("orders.created", fmt.Appendf(nil, "%d", i)); err != nil {
			h.t.Fatal(err)
		}
	}
	<-h.js.PublishAsyncComplete()
}

func (h *house) awaitSettled(consumer string) {
	h.t.Helper()
	// A consumer that has not seen the newest message yet counts as done for a moment.
	seen := 0
	testkit.Eventually(h.t, func() bool {
		if seen++; !settled(h.js, "ORDERS", consumer) {
			seen = 0
		}
		return seen == 3
	}, "consumer %s to be done", consumer)
}

// bodies counts the requests by their body.
func bodies(r *testkit.Receiver) map[string]int {
	seen := map[string]int{}
	for _, q := range r.Requests() {
		seen[string(q.Body)]++
	}
	return seen
}

func TestTwoProcessesShareTheWork(t *testing.T) {
	const messages = 500
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	routes := writeRoutes(t, ordersRoute, r.URL)
	a, b := h.run(routes, "--log-format", "json"), h.run(routes, "--log-format", "json")
	a.admin()
	b.admin()
	h.publish(0, messages)
	h.awaitSettled("relay-billing")
	seen := bodies(r)
	if len(seen) != messages || len(r.Requests()) != messages {
		t.Errorf("%d requests for %d of %d messages", len(r.Requests()), len(seen), messages)
	}
	for name, p := range map[string]*process{"first": a, "second": b} {
		if !strings.Contains(p.stderr.String(), `"msg":"attempt"`) {
			t.Errorf("the %s process delivered nothing", name)
		}
	}
}

// SIGTERM and SIGINT: attempts under way finish, nothing new is posted, exit 0.
func TestGracefulStop(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			entered, release := make(chan struct{}, 100), make(chan struct{})
			r.Answer(func(w http.ResponseWriter, _ testkit.Request) {
				entered <- struct{}{}
				<-release
				w.WriteHeader(http.StatusNoContent)
			})
			p := h.run(writeRoutes(t, ordersRoute, r.URL), "--log-level", "debug")
			h.publish(0, 20)
			for range 4 {
				<-entered
			}
			p.signal(sig)
			testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "takes nothing new") }, "relay to take nothing new")
			close(release)
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
			if err != nil {
				t.Fatal(err)
			}
			info := c.CachedInfo()
			if len(r.Requests()) != 4 || info.AckFloor.Stream != 4 || info.NumAckPending != 0 {
				t.Errorf("%d requests, ack floor %d, %d not settled; want 4, 4, 0", len(r.Requests()), info.AckFloor.Stream, info.NumAckPending)
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	t.Cleanup(func() { close(release) })
	r.Answer(func(http.ResponseWriter, testkit.Request) { entered <- struct{}{}; <-release })
	p := h.run(writeRoutes(t, ordersRoute, r.URL), "--drain", "10m")
	h.publish(0, 1)
	<-entered
	p.signal(syscall.SIGTERM)
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "stopping") }, "relay to drain")
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code == 0 {
		t.Error("exit code 0 although an attempt was cut off")
	}
}

// Killed in the middle, again and again, relay loses nothing and makes one row a death.
func TestKilledInTheMiddle(t *testing.T) {
	const messages, kills = 600, 4
	h := newHouse(t)
	var mu sync.Mutex
	delivered := map[string]bool{}
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		var n int
		if _, err := fmt.Sscan(string(q.Body), &n); err != nil {
			t.Errorf("body %q", q.Body)
		}
		if n%5 == 0 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		mu.Lock()
		delivered[string(q.Body)] = true
		mu.Unlock()
	})
	// A short AckWait, so that what a killed process had in hand comes again soon.
	routes := writeRoutes(t, strings.NewReplacer("ack_wait: 20s", "ack_wait: 8s", "timeout: 10s", "timeout: 2s").Replace(ordersRoute), r.URL)
	var p *process
	for i := range kills {
		p = h.run(routes)
		p.admin()
		h.publish(i*messages/kills, messages/kills)
		want := (2*i + 1) * messages / (2 * kills)
		testkit.Eventually(t, func() bool { return len(bodies(r)) >= want }, "%d messages at the receiver", want)
		p.signal(syscall.SIGKILL)
		p.wait()
	}
	p = h.run(routes)
	admin := p.admin()
	h.awaitSettled("relay-billing")
	var dead []deadLetter
	testkit.Eventually(t, func() bool { dead = deadLetters(t, admin, ""); return len(dead) >= messages/5 }, "%d rows", messages/5)
	if len(dead) != messages/5 {
		t.Errorf("%d rows, want %d", len(dead), messages/5)
	}
	rows := map[uint64]bool{}
	for _, d := range dead {
		if rows[d.StreamSequence] {
			t.Errorf("message %d has two rows", d.StreamSequence)
		}
		rows[d.StreamSequence] = true
	}
	mu.Lock()
	defer mu.Unlock()
	if len(delivered) != messages-messages/5 {
		t.Errorf("%d messages delivered, want %d", len(delivered), messages-messages/5)
	}
}

// What /health calls unhealthy is for the operator to say.
func TestHealthLimits(t *testing.T) {
	h := newHouse(t)
	release := make(chan struct{})
	r := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) { <-release })
	defer close(release)
	p := h.run(writeRoutes(t, ordersRoute, r.URL), "--health-ack-pending", "0.0001") // one of the 10,000 of max_ack_pending
	admin := p.admin()
	if status, body := get(t, admin+"/health"); status != http.StatusOK {
		t.Errorf("/health says %d %s before any message", status, body)
	}
	h.publish(0, 3)
	testkit.Eventually(t, func() bool {
		status, body := get(t, admin+"/health")
		return status == http.StatusServiceUnavailable && strings.Contains(string(body), "ack pending")
	}, "/health to tell of the messages pending ack")
}

// The database may be down at the start or later: delivery goes on, /readyz says so,
// the table catches up.
func TestDatabaseDown(t *testing.T) {
	pg := testkit.PostgresServer(t)
	if err := pg.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	s := testkit.NATS(t)
	h := &house{t: t, nats: s, js: s.JetStream(t), database: pg.URL}
	r := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	p := h.run(writeRoutes(t, ordersRoute, r.URL))
	admin := p.admin()
	ready := func() int { status, _ := get(t, admin+"/readyz"); return status }

	h.publish(0, 10)
	r.Wait(t, 10)
	h.awaitSettled("relay-billing")
	if ready() != http.StatusServiceUnavailable {
		t.Error("/readyz says ready without a database")
	}
	if code, _, stderr := command(t, "", "health", "--admin", admin); code != exitWrong || !strings.Contains(stderr, "not ready: database: ") {
		t.Errorf("relay health without a database: exit %d, %q", code, stderr)
	}
	if status, body := get(t, admin+"/api/v1/dead-letters"); status != http.StatusServiceUnavailable {
		t.Errorf("the API says %d %s without a database", status, body)
	}
	if status, _ := get(t, admin+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz says %d, and the process is well", status)
	}
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return ready() == http.StatusOK && len(deadLetters(t, admin, "")) == 10 }, "10 rows once it is up")

	if err := pg.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	h.publish(10, 10)
	r.Wait(t, 20)
	h.awaitSettled("relay-billing")
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool {
		status, _ := get(t, admin+"/readyz")
		return status == http.StatusOK && len(deadLetters(t, admin, "")) == 20
	}, "20 rows after the second outage")
	for _, secret := range []string{"password", "postgres:"} {
		if strings.Contains(p.stderr.String(), secret+"@") {
			t.Errorf("the log holds a credential")
		}
	}
}

// NATS may be down at the start: relay waits and says what for; and later: it goes on
// by itself.
func TestNATSDown(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.nats.Stop()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + free.Addr().String()
	_ = free.Close()
	p := h.run(writeRoutes(t, ordersRoute, r.URL), "--admin", strings.TrimPrefix(address, "http://"))
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "waiting for NATS") }, "relay to say what it waits for")
	if !strings.Contains(p.stderr.String(), strings.TrimPrefix(h.nats.URL, "nats://")) {
		t.Errorf("the log does not name the server:\n%s", p.stderr)
	}
	if status, body := get(t, address+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz while relay waits: %d %s, want 200", status, body)
	}
	if code, _, stderr := command(t, "", "health", "--admin", address); code != exitWrong || !strings.Contains(stderr, "not ready: relay waits for NATS") {
		t.Errorf("relay health while relay waits: exit %d, %q", code, stderr)
	}
	if status, body := get(t, address+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(string(body), "NATS") {
		t.Errorf("/readyz while relay waits: %d %s, want 503 and what is missing", status, body)
	}
	h.nats.Start(t)
	admin := p.admin()
	h.js = h.nats.JetStream(t)
	h.publish(0, 5)
	r.Wait(t, 5)

	h.nats.Stop()
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusServiceUnavailable }, "/readyz to say that NATS is gone")
	h.nats.Start(t)
	h.js = h.nats.JetStream(t)
	h.publish(5, 5)
	testkit.Eventually(t, func() bool { return len(bodies(r)) == 10 }, "the messages after the outage")
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "/readyz to say ready")
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A stop while waiting for NATS is a clean one too.
func TestStopWhileWaitingForNATS(t *testing.T) {
	p := relay(t, "run", "--routes", writeRoutes(t, ordersRoute, "http://127.0.0.1:1"), "--nats", "nats://127.0.0.1:1",
		"--database", "sqlite:"+t.TempDir()+"/relay.db", "--admin", "127.0.0.1:0")
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "waiting for NATS") }, "relay to wait")
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// One machine: NATS and SQLite inside the process; a restart finds everything again.
func TestEmbedded(t *testing.T) {
	data := t.TempDir()
	r := testkit.NewReceiver(t, testkit.Status(http.StatusGone))
	routes := writeRoutes(t, ordersRoute, r.URL)
	args := []string{"run", "--routes", routes, "--embedded", "--data", data, "--nats-port", "-1", "--admin", "127.0.0.1:0", "--log-format", "json"}
	p := relay(t, args...)
	p.admin()
	send := relay(t, "send", "orders.created", "--nats", p.natsURL())
	if code := send.wait(); code != 0 || !strings.Contains(send.stdout.String(), "stored in stream ORDERS") {
		t.Fatalf("send: exit %d, %s%s", code, send.stdout, send.stderr)
	}
	r.Wait(t, 1)
	awaitDeadLetters(t, p.admin(), 1)
	p.signal(syscall.SIGKILL)
	p.wait()
	p = relay(t, args...)
	if got := deadLetters(t, p.admin(), ""); len(got) != 1 {
		t.Errorf("%d dead letters after a kill and a restart, want 1", len(got))
	}
}

// natsURL is what the log says of the server that relay is connected to.
func (p *process) natsURL() string {
	p.t.Helper()
	p.admin()
	for line := range strings.Lines(p.stderr.String()) {
		var v struct{ Msg, NATS string }
		if json.Unmarshal([]byte(line), &v) == nil && v.Msg == "relay runs" {
			return v.NATS
		}
	}
	p.t.Fatal("the log does not name the NATS server")
	return ""
}

package chaos_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

const (
	timeout = 1500 * time.Millisecond
	// margin is what an AckWait has to be longer than the timeout, and a little.
	margin      = 5500 * time.Millisecond
	ackWait     = timeout + margin
	concurrency = 8
	// settling bounds how long everything may take to come to rest after the last
	// fault: retries, AckWaits of the dead, and the projector's own waits.
	settling = 3 * time.Minute
)

// house is everything that one run needs, and what it did.
type house struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand // of the faults
	dir  string     // logs, configurations, stores

	nodes    []*node
	natsURL  string // of relay
	replicas int
	nc       *nats.Conn
	js       jetstream.JetStream
	pg       *testkit.PG // nil: the database is a schema of a server that others share
	disk     string      // the small disk of Postgres; empty: none
	database string
	// relayDatabase is the database as relay reaches it; empty: directly.
	relayDatabase string
	receiver      *receiver

	routes     []string
	push       bool          // they have push consumers
	timeout    time.Duration // of an attempt
	routesFile string
	bodyBytes  int // 0: up to 2 KiB, some empty

	relays   []*relay
	launched int
	warmed   *relay  // the process that the figures at rest are of
	atRest   figures // before any fault
	loads    []*load
	numbered int // messages that have a number

	deadStreamGone bool
	needless       int           // deaths that no receiver asked for
	resumed        time.Duration // the longest wait of goesOn
	notes          []string      // what a run measured
}

// open starts the servers of a run: NATS, a schema in Postgres, the receivers.
func open(t *testing.T, seed uint64, s scenario) *house {
	t.Helper()
	h := &house{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), dir: t.ArtifactDir(),
		routes: []string{"billing", "search"}, timeout: cmp.Or(s.timeout, timeout), replicas: 1, push: s.push,
	}
	if s.routes > 0 {
		h.routes = nil
		for i := range s.routes {
			h.routes = append(h.routes, fmt.Sprintf("route-%02d", i))
		}
	}
	if s.push {
		// At 2 MiB on their way the server asks whether it may go on: some times in a run.
		h.bodyBytes = 16 << 10
	}
	h.receiver = newReceiver(h)
	switch {
	case s.cluster:
		h.startCluster()
	default:
		h.startNATS(func(n *node) {
			if s.nats != nil {
				s.nats(h, n)
			}
		})
	}
	if s.ownPostgres {
		if s.disk != "" {
			h.disk = smallDisk(t, s.disk)
			usual := os.Getenv("TMPDIR")
			t.Setenv("TMPDIR", h.disk) // where the server makes its data folder
			defer t.Setenv("TMPDIR", usual)
		}
		h.pg = testkit.PostgresServer(t)
		h.database = h.pg.URL
	} else {
		h.database = testkit.Postgres(t)
	}
	h.routesFile = filepath.Join(h.dir, "routes.yaml")
	h.writeRoutes(h.routesYAML())
	return h
}

// routesYAML is a file of all routes, each of which gets every message.
func (h *house) routesYAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 1
streams: [{ name: ORDERS, subjects: [orders.>], replicas: %d }]
defaults:
  stream: ORDERS
  filter_subjects: [orders.>]
  concurrency: %d
  consumer: { ack_wait: %s }
  webhook: { timeout: %s }
  circuit_breaker: { consecutive_failures: 20, open_for: 1s }
  retry: { max_attempts: 5, backoff: { initial: 100ms, max: 1s } }
routes:
`, h.replicas, concurrency, h.timeout+margin, h.timeout)
	for _, name := range h.routes {
		consumer := ""
		if h.push {
			consumer = fmt.Sprintf("consumer: { type: push, deliver_subject: deliver.%s, deliver_group: relay }, ", name)
		}
		fmt.Fprintf(&b, "  - { name: %s, %swebhook: { url: %q } }\n", name, consumer, h.receiver.srv.URL+"/"+name)
	}
	return b.String()
}

func (h *house) writeRoutes(yaml string) {
	h.t.Helper()
	if err := os.WriteFile(h.routesFile, []byte(yaml), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// note keeps a figure for the summary.
func (h *house) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

// pause waits a random moment between the two.
func (h *house) pause(from, to time.Duration) {
	<-time.After(from + time.Duration(h.rng.Int64N(int64(to-from)+1)))
}

// strike makes a fault at a moment when receivers have requests that they have not
// answered.
func (h *house) strike(fault func()) {
	h.t.Helper()
	await(h.t, patience, "a request to be under way", func() bool { return h.receiver.open() > 0 })
	fault()
}

// goesOn waits until each route makes a request of a message that the load publishes
// from now on.
func (h *house) goesOn(l *load) {
	h.t.Helper()
	newest, seen, began := l.newest(), h.receiver.total(), time.Now()
	missing := slices.Clone(l.routes)
	await(h.t, patience, "every route to go on", func() bool {
		for _, q := range h.receiver.since(seen) {
			seen++
			if q.Subject > newest {
				missing = slices.DeleteFunc(missing, func(route string) bool { return route == q.Route })
			}
		}
		return len(missing) == 0
	})
	h.resumed = max(h.resumed, time.Since(began))
}

// current is the relay process that was started last.
func (h *house) current() *relay { return h.relays[len(h.relays)-1] }

// warm brings relay to work and back to rest, and keeps what it uses then: with its
// connections made, and nothing in hand.
func (h *house) warm() {
	h.t.Helper()
	h.await(h.publish(100, 500))
	h.settle()
	h.warmed = h.current()
	var ok bool
	if h.atRest, ok = h.warmed.figures(); !ok {
		h.t.Fatalf("%s shows no metrics", h.warmed.name)
	}
}

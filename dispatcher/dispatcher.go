// Package dispatcher delivers: it binds a durable consumer to each route, posts each
// message to the route's webhook, turns the answer into ack, nak or term, and parks
// what cannot be delivered in the dead-letter stream. cmd/relay imports it.
//
// The way of one message is route.deliver.
package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"relay/dlqstore"
	"relay/internal/pull"
	"relay/internal/webhook"
	"relay/routes"
)

// Overflow keeps payloads and headers that do not fit into a message of the
// dead-letter stream. dlqstore.Store is one.
type Overflow interface {
	Project(ctx context.Context, b dlqstore.Batch) error
	Get(ctx context.Context, id string) (dlqstore.DeadLetter, error)
}

// Options of a Dispatcher. Conn and Config are required.
type Options struct {
	// Conn stays the caller's, who closes it after Run has returned.
	Conn   *nats.Conn
	Config *routes.Config
	// Overflow takes dead letters above the server's max_payload. nil: such a message
	// stays pending in its stream.
	Overflow Overflow
	// Instance names this process in attempt events. Defaults to "relay".
	Instance string
	// MaxInFlightBytes bounds the messages in hand over all routes, in bytes. What push
	// consumers send is counted, and bounded by their max_ack_pending only: one that
	// could exceed this alone is logged. Defaults to DefaultMaxInFlightBytes.
	MaxInFlightBytes int64
	// FailuresPerSecond is how many attempts of one route may fail in a second while other
	// routes deliver. Defaults to 2,000, or to 1,000 for each CPU where that is more.
	FailuresPerSecond int
	// Version goes into the User-Agent. Defaults to "dev".
	Version string
	// Drain is how long attempts under way may go on after Run's context has ended.
	// Zero cuts them off at once.
	Drain time.Duration
	// Logger gets one line an attempt. nil discards.
	Logger *slog.Logger
	// Registerer takes the metrics. nil: a registry of its own, that nobody reads.
	Registerer prometheus.Registerer
	// LookupEnv resolves {env: NAME} secrets. nil: the process's environment.
	LookupEnv func(string) (string, bool)
	// Forbidden are the addresses that no webhook of strict egress may reach, relay's own
	// NATS, database and admin page. An unspecified address stands for its port on every
	// address that is not public. nil: none.
	Forbidden []netip.AddrPort
	// Tracer makes spans of deliveries, requests and dead letters. nil: there are none.
	Tracer trace.Tracer
	// AllowRecreate lets relay delete and create consumers anew when the file changes
	// what JetStream cannot change in place. Their position is kept.
	AllowRecreate bool
}

// DefaultMaxInFlightBytes is Options.MaxInFlightBytes when it is not set: 256 MiB.
const DefaultMaxInFlightBytes = 256 << 20

// Dispatcher runs the routes of one file. Its methods are safe for concurrent use.
type Dispatcher struct {
	shared   *shared
	drain    time.Duration
	applying sync.Mutex // one Apply at a time, and none while Run ends
	// lookForOrphans asks tend for a look out of turn.
	lookForOrphans atomic.Bool

	mu      sync.Mutex
	routes  []*runner       // the enabled ones, in file order
	start   func(r *runner) // nil unless Run runs; mu is held
	orphans []Orphan        // as last looked for
}

// shared is what all routes of a dispatcher have in common.
type shared struct {
	conn     *nats.Conn
	js       jetstream.JetStream
	current  atomic.Pointer[routes.Config]
	overflow Overflow
	instance string
	tracing  tracing
	webhook  webhook.Options
	log      *slog.Logger
	metrics  *metrics
	budget   *pull.Budget
	clock    serverClock
	ledger   *ledger
	company  company
	looks    chan struct{} // holds mostLooks
	suspect  chan struct{} // holds the one attempt, of all routes, on a message that may be poison
	// maxInFlightBytes is Options.MaxInFlightBytes.
	maxInFlightBytes int64
	// failuresPerSecond is Options.FailuresPerSecond.
	failuresPerSecond int
	// allowRecreate is Options.AllowRecreate.
	allowRecreate bool

	mu            sync.Mutex
	streamTrouble string // as last said
}

// file is the routes file in force.
func (s *shared) file() *routes.Config { return s.current.Load() }

// New checks everything about the routes that can be checked without a server:
// secrets, certificates, filters. It sends nothing.
func New(o Options) (*Dispatcher, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Instance == "" {
		o.Instance = "relay"
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	switch {
	case o.MaxInFlightBytes < 0:
		return nil, fmt.Errorf("bytes in flight: the bound is %d; it has to be above 0, and should hold several of the largest messages", o.MaxInFlightBytes)
	case o.MaxInFlightBytes == 0:
		o.MaxInFlightBytes = DefaultMaxInFlightBytes
	}
	if o.FailuresPerSecond == 0 {
		o.FailuresPerSecond = defaultFailures()
	}
	budget := pull.NewBudget(o.MaxInFlightBytes)
	m, err := newMetrics(o.Registerer, budget.InHand)
	if err != nil {
		return nil, err
	}
	s := &shared{
		conn: o.Conn, overflow: o.Overflow, instance: o.Instance, log: o.Logger, metrics: m, budget: budget,
		webhook:       webhook.Options{Version: o.Version, LookupEnv: o.LookupEnv, Logger: o.Logger, Forbidden: o.Forbidden},
		allowRecreate: o.AllowRecreate, maxInFlightBytes: o.MaxInFlightBytes, looks: make(chan struct{}, mostLooks), suspect: make(chan struct{}, 1),
		company: company{born: time.Now()}, failuresPerSecond: o.FailuresPerSecond,
	}
	s.current.Store(o.Config)
	s.js, err = jetstream.New(o.Conn, jetstream.WithPublishAsyncErrHandler(s.unrecorded))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	s.ledger = newLedger(s.js)
	s.tracing = tracing{o.Tracer}
	d := &Dispatcher{shared: s, drain: o.Drain}
	d.lookForOrphans.Store(true)
	var errs []error
	for _, cfg := range o.Config.Routes {
		if !cfg.Enabled {
			continue
		}
		r, err := newRunner(s, cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.routes = append(d.routes, r)
	}
	if len(errs) > 0 {
		for _, r := range d.routes {
			r.sender.Close()
		}
		return nil, errors.Join(errs...)
	}
	return d, nil
}

// Prepare creates or updates the streams that the file declares and those that relay
// needs for itself. What fails is logged, and tried again while Run runs.
func (d *Dispatcher) Prepare(ctx context.Context) { d.shared.say(d.shared.ensureStreams(ctx)) }

// fewRoutesBallast is memory that Run takes and never touches, so that it is not resident.
// The garbage collector runs when as much was allocated as is alive, at least 4 MiB: with
// few routes, of 64 KiB messages, every 50. With this beside it relay takes up to a third
// less CPU time (docs/performance.md). What routes have alive themselves, some routeBytes
// each, makes it needless.
const (
	fewRoutesBallast = 12 << 20
	routeBytes       = 64 << 10
)

// Run delivers until ctx ends, then drains: nothing new is taken, attempts under way
// have Options.Drain to finish, the rest is given back at once. It returns when
// everything it started has ended.
func (d *Dispatcher) Run(ctx context.Context) error {
	ballast := make([]byte, max(0, fewRoutesBallast-len(d.running())*routeBytes))
	defer runtime.KeepAlive(ballast)

	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(d.drain, cut)
	})()

	var background sync.WaitGroup
	background.Go(func() { d.tend(ctx) })
	background.Go(func() { d.sweep(ctx, work) })
	d.begin(func(r *runner) {
		var own context.Context
		own, r.cancel = context.WithCancel(ctx)
		go func() {
			defer close(r.ended)
			r.run(own, work)
		}()
	})
	<-ctx.Done()
	d.end()
	background.Wait()
	// The last attempts' events are on their way.
	select {
	case <-d.shared.js.PublishAsyncComplete():
	case <-work.Done():
	case <-time.After(publishTimeout):
	}
	if err := d.shared.conn.FlushTimeout(publishTimeout); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("flush what was settled last: %w", err)
	}
	return nil
}

// begin starts the routes, and lets Apply start others.
func (d *Dispatcher) begin(start func(*runner)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start = start
	first := newPlanner(d.shared.js, d.shared.file())
	for _, r := range d.routes {
		r.live.first, r.replay.first = first, first
		start(r)
	}
}

// end waits for the routes, whose context has ended, and for an Apply under way.
func (d *Dispatcher) end() {
	d.applying.Lock()
	defer d.applying.Unlock()
	for _, r := range d.running() {
		<-r.ended
		r.cancel()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start = nil
}

func (d *Dispatcher) runs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.start != nil
}

// running are the enabled routes as they are now.
func (d *Dispatcher) running() []*runner {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.routes)
}

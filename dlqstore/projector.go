package dlqstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"relay/internal/pull"
)

const (
	// projectorDurable is the projector's consumer on each of its streams. All relay
	// processes share it.
	projectorDurable = "relay-projector"

	defaultAckWait       = 10 * time.Second
	defaultBatchMessages = 500
	batchBytes           = 8 << 20
	// pulledBytes bounds what is in memory of all streams together.
	pulledBytes = 3 * batchBytes
	// batchLinger is how long a batch waits to become full once it has begun.
	batchLinger = 50 * time.Millisecond
	// projectTimeout ends a transaction with a database that hangs.
	projectTimeout = 30 * time.Second
	requestTimeout = 5 * time.Second
	watchInterval  = 5 * time.Second
	maxRetryWait   = 30 * time.Second
)

// ProjectorOptions are the settings of a Projector. JetStream and Store are required.
type ProjectorOptions struct {
	JetStream jetstream.JetStream
	Store     Store
	// Streams are the dead-letter streams. The attempts stream is always projected too.
	Streams []string
	// Logger tells when the projection stops and resumes. Nil: nothing is logged.
	Logger *slog.Logger
	// Metrics gets the gauge relay_projection_lag. Nil: there is no gauge.
	Metrics prometheus.Registerer
	// Tracer makes a span of each transaction. Nil: there are none.
	Tracer trace.Tracer
	// BatchMessages is how many messages go into one transaction at most. Defaults
	// to 500.
	BatchMessages int
	// AckWait is after how long another process takes over what a dead one had fetched.
	// What waits for a slow database is kept from coming again. Defaults to 10 s.
	AckWait time.Duration
}

// Projector carries dead letters and attempts from their streams into the Store. It
// acks a message after the COMMIT that holds it; while the database is down nothing
// is acked, and the streams keep what comes. Several processes share the work.
type Projector struct {
	js      jetstream.JetStream
	store   Store
	streams []string
	log     *slog.Logger
	lag     prometheus.Gauge
	batch   int
	ackWait time.Duration
	budget  *pull.Budget
	tracer  trace.Tracer // nil: none
}

// NewProjector makes a Projector; Run starts it.
func NewProjector(o ProjectorOptions) (*Projector, error) {
	if o.JetStream == nil || o.Store == nil {
		return nil, errors.New("projector: JetStream and Store are required")
	}
	p := &Projector{
		js: o.JetStream, store: o.Store, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), tracer: o.Tracer,
		batch: cmp.Or(o.BatchMessages, defaultBatchMessages), ackWait: cmp.Or(o.AckWait, defaultAckWait), budget: pull.NewBudget(pulledBytes),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "relay_projection_lag",
			Help: "Dead letters and attempts in their streams that the database does not hold yet.",
		}),
	}
	p.streams = append(slices.Clone(o.Streams), AttemptsStream)
	slices.Sort(p.streams)
	p.streams = slices.Compact(p.streams)
	if o.Metrics != nil {
		if err := o.Metrics.Register(p.lag); err != nil {
			return nil, fmt.Errorf("projector: %w", err)
		}
	}
	return p, nil
}

// Run projects until ctx ends, and returns nil then. It waits for streams that are
// not there yet.
func (p *Projector) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	for _, stream := range p.streams {
		parts.Go(func() { p.follow(ctx, stream) })
	}
	// Apart from each other: a database that hangs must not keep the gauge from telling of it.
	parts.Go(func() { p.watchLag(ctx) })
	parts.Go(func() { p.watchLost(ctx) })
	parts.Wait()
	return nil
}

// follow projects one stream until ctx ends. Each session that breaks is followed by
// another after a growing wait; it is told once that the projection stopped, and that
// it resumed.
func (p *Projector) follow(ctx context.Context, stream string) {
	log := p.log.With("stream", stream)
	wait := newRetryWait()
	waiting, refused := false, false
	over := func() {
		if waiting {
			log.Info("projection resumed")
		}
		waiting, refused = false, false
		wait.Reset()
	}
	for ctx.Err() == nil {
		err := p.ensureConsumer(ctx, stream)
		if err == nil {
			if !refused {
				over()
			}
			err = p.session(ctx, stream, over)
			refused = refused || errors.Is(err, errRefused)
		}
		if ctx.Err() != nil {
			return
		}
		if !waiting {
			waiting = true
			log.Warn("projection waits", "err", err)
		}
		sleep(ctx, wait.NextBackOff())
	}
}

func (p *Projector) ensureConsumer(ctx context.Context, stream string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := p.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:       projectorDurable,
		Description:   "carries dead letters and attempts into relay's database",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 8 * p.batch, // of all processes together
		DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("create consumer %q on stream %q: %w", projectorDurable, stream, err)
	}
	return nil
}

// watchLag keeps the gauge near the sum of what the consumers have before them. One that
// cannot be asked keeps its last figure.
func (p *Projector) watchLag(ctx context.Context) {
	pending := map[string]float64{}
	for ; ctx.Err() == nil; sleep(ctx, watchInterval) {
		sum := 0.0
		for _, stream := range p.streams {
			if n, err := p.pending(ctx, stream); err == nil {
				pending[stream] = n
			}
			sum += pending[stream]
		}
		p.lag.Set(sum)
	}
}

func (p *Projector) pending(ctx context.Context, stream string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := p.js.Consumer(ctx, stream, projectorDurable)
	if err != nil {
		return 0, err
	}
	info := c.CachedInfo()
	return float64(info.NumPending) + float64(info.NumAckPending), nil
}

// newRetryWait is the wait between tries of the projector and the replayer.
func newRetryWait() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(maxRetryWait),
		backoff.WithMaxElapsedTime(0), // for ever
	)
}

// sleep waits, or returns early when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

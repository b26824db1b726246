package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/pull"
	"relay/internal/webhook"
	"relay/routes"
)

// route runs one route of the file: two lanes, one gate, one sender.
type route struct {
	shared  *shared
	cfg     routes.Route
	log     *slog.Logger
	sender  *webhook.Sender
	filter  *filter
	gate    *gate
	ahead   *readAhead
	backlog *backlog
	pace    *pace
	metrics routeMetrics
	live    *lane
	replay  *lane
	quiet   chan struct{} // closed when neither lane takes messages any more

	mu       sync.Mutex
	inFlight map[*delivery]struct{}
	// What stands in the way, each until it is gone; nil and "" mean nothing does.
	looked      bool // the live lane has looked at its consumer at least once
	laneTrouble map[*lane]error
	deadTrouble error
	info        jetstream.ConsumerInfo // of the live consumer, as last polled
	warned      bool                   // of a push consumer without flow control
	// What this process did.
	delivered   uint64
	deliveredAt time.Time
	failed      uint64
	lastError   string
	lastErrorAt time.Time
	recent      []Recent // the last recentAttempts, a ring once it is full
	oldest      int      // where in the full ring the oldest is
	// Where the live consumer stands, for making it again; valid if positioned.
	positioned    bool
	floor         uint64
	streamCreated time.Time
}

// replayShare bounds the replay lane, so that replays leave live messages their room.
const replayShare = 4

func newRoute(s *shared, cfg routes.Route) (*route, error) {
	f, err := compileFilter(cfg.Filter)
	if err != nil {
		return nil, fmt.Errorf("route %q: filter: %w", cfg.Name, err)
	}
	sender, err := webhook.New(cfg, s.webhook)
	if err != nil {
		return nil, err
	}
	r := &route{
		shared: s, cfg: cfg, log: s.log, sender: sender, filter: f, metrics: s.metrics.of(cfg.Name),
		ahead: newReadAhead(cfg), backlog: newBacklog(cfg), pace: newPace(&s.company, s.failuresPerSecond),
		inFlight: map[*delivery]struct{}{}, laneTrouble: map[*lane]error{}, quiet: make(chan struct{}),
	}
	r.gate = newGate(cfg, r.resize)
	r.live = &lane{
		route: r, stream: cfg.Stream, consumer: cfg.Consumer.Durable, ensure: r.ensureLive,
		deliverSubject: cfg.Consumer.DeliverSubject, deliverGroup: cfg.Consumer.DeliverGroup,
	}
	r.live.read = r.live.readLive
	r.replay = &lane{route: r, stream: dlqstore.ReplayStream, consumer: replayDurable(cfg.Name), ensure: r.ensureReplay}
	r.replay.read = r.replay.readReplay
	return r, nil
}

// warnOfPush says once when a push consumer that was made without flow control may send
// more than relay means to hold: its server sends without being asked. Ending the
// subscription would lose what is on its way until its AckWait has passed, a delivery
// each (measured: 190 of 460), so that only MaxAckPending bounds it. The lock is held.
func (r *route) warnOfPush(c jetstream.ConsumerConfig) {
	most, largest := int64(c.MaxAckPending), max(1, r.shared.conn.MaxPayload())
	fits := r.shared.maxInFlightBytes / largest
	if r.warned || c.DeliverSubject == "" || c.FlowControl || most <= fits {
		return
	}
	r.warned = true
	r.log.Warn("a push consumer without flow control may send more than --max-in-flight-bytes: lower consumer.max_ack_pending, or delete the consumer while relay runs, which makes it anew where it stood",
		"route", r.cfg.Name, "consumer", c.Durable, "max_ack_pending", most, "largest_message_bytes", largest, "would_fit", fits)
}

// run delivers until ctx ends, and returns when every message in hand is settled.
// Attempts under way are cut off when work ends.
func (r *route) run(ctx, work context.Context) {
	defer r.sender.Close()
	defer r.gate.close()
	deliveries := newCrew(r.cfg.Concurrency, func(d *delivery) { r.deliver(ctx, work, d) })
	var loops sync.WaitGroup
	for _, l := range []*lane{r.live, r.replay} {
		l.puller = pull.New(pull.Options{
			Conn: r.shared.conn, Stream: l.stream, Consumer: l.consumer, Budget: r.shared.budget,
			DeliverSubject: l.deliverSubject, DeliverGroup: l.deliverGroup,
			Handle: func(m *nats.Msg) {
				meta, err := m.Metadata()
				if err != nil {
					// Without an ack subject it is nobody's message, and cannot be settled.
					r.log.Error("message without JetStream's metadata", "route", r.cfg.Name, "subject", m.Subject, "err", err)
					l.puller.Release(m)
					return
				}
				deliveries.hand(r.receive(l, m, meta))
			},
		})
	}
	r.resize(r.cfg.Concurrency)
	loops.Go(func() { r.live.supervise(ctx) })
	loops.Go(func() { r.replay.supervise(ctx) })

	settled := make(chan struct{})
	var keeper sync.WaitGroup
	keeper.Go(func() { r.keepAlive(settled) })
	loops.Wait()
	close(r.quiet)
	r.log.Debug("takes nothing new", "route", r.cfg.Name)
	deliveries.end()
	close(settled)
	keeper.Wait()
}

// resize bounds what the lanes have in hand to what the gate lets through, and what is
// read ahead of it.
func (r *route) resize(n int) {
	r.metrics.breaker(n == 0)
	r.ahead.resize(n, r.live.puller)
	r.replay.puller.SetLimit((n + replayShare - 1) / replayShare)
}

// receive takes a message in hand. One that was stored long ago is reported as in
// progress at once: without that the server would deliver it again after its next
// restart or change of leader, while it is still under way here (measured).
func (r *route) receive(l *lane, m *nats.Msg, meta *nats.MsgMetadata) *delivery {
	d := &delivery{lane: l, msg: m, meta: meta, seen: time.Now()}
	if r.shared.clock.now().Sub(meta.Timestamp) > r.cfg.Consumer.AckWait/2 {
		_ = inProgress(r.shared.conn, m) // a lost one costs at most a duplicate
	}
	if meta.NumDelivered > 1 {
		r.backlog.cameAgain()
	}
	r.mu.Lock()
	r.inFlight[d] = struct{}{}
	r.mu.Unlock()
	r.metrics.inFlight.Inc()
	return d
}

// count keeps the route's figures for the page.
func (r *route) count(d *delivery, out Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := Recent{
		At: time.Now(), ID: d.ID, Subject: d.Subject, Attempt: out.Attempt, Status: out.Status, Error: out.Error,
		Duration: d.answer.Duration, Delivered: out.Verdict == routes.Ack,
	}
	if len(r.recent) < recentAttempts {
		r.recent = append(r.recent, last)
	} else {
		r.recent[r.oldest] = last
		r.oldest = (r.oldest + 1) % recentAttempts
	}
	if out.Verdict == routes.Ack {
		r.delivered++
		r.deliveredAt = last.At
		return
	}
	r.failed++
	r.lastError, r.lastErrorAt = out.Error, last.At
}

// settled takes a message out of those that are reported as in progress.
func (r *route) settled(d *delivery) {
	r.mu.Lock()
	delete(r.inFlight, d)
	r.mu.Unlock()
	r.metrics.inFlight.Dec()
}

// keepAlive reports every message in hand as in progress before its AckWait ends.
func (r *route) keepAlive(settled <-chan struct{}) {
	every := r.cfg.Consumer.AckWait / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-settled:
			return
		case now := <-tick.C:
			r.mu.Lock()
			for d := range r.inFlight {
				if now.Sub(d.seen) >= every/2 {
					_ = inProgress(r.shared.conn, d.msg) // the next tick is another try
					d.seen = now
				}
			}
			r.mu.Unlock()
		}
	}
}

// poll reads the live consumer's figures.
func (r *route) poll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := r.liveInfo(ctx)
	if err != nil {
		return // the lane's supervisor finds out why, and says so
	}
	r.sawConsumer(info)
}

// sawConsumer takes over the live consumer's figures.
func (r *route) sawConsumer(info *jetstream.ConsumerInfo) {
	r.shared.clock.set(info.TimeStamp)
	r.mu.Lock()
	r.info = *info
	r.warnOfPush(info.Config)
	r.positioned, r.floor = true, info.AckFloor.Stream
	r.mu.Unlock()
	r.backlog.atMost(info.NumAckPending)
	r.metrics.consumer(info.NumPending, info.NumAckPending)
}

func (r *route) liveInfo(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	if r.cfg.Consumer.Type == routes.Push {
		c, err := r.shared.js.PushConsumer(ctx, r.cfg.Stream, r.cfg.Consumer.Durable)
		if err != nil {
			return nil, err
		}
		return c.CachedInfo(), nil
	}
	c, err := r.shared.js.Consumer(ctx, r.cfg.Stream, r.cfg.Consumer.Durable)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// sawStream remembers which incarnation of the stream the position belongs to.
func (r *route) sawStream(info *jetstream.StreamInfo) {
	r.shared.clock.set(info.TimeStamp)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.streamCreated.Equal(info.Created) {
		r.streamCreated, r.positioned = info.Created, false
	}
}

// trouble is an obstacle that has a state of its own.
type trouble struct {
	state State
	text  string
}

func (t *trouble) Error() string { return t.text }

// setTrouble notes what keeps a lane from running, and says so once a change.
func (r *route) setTrouble(l *lane, err error) {
	r.mu.Lock()
	before := r.laneTrouble[l]
	r.laneTrouble[l] = err
	r.looked = r.looked || l == r.live
	r.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()) && !errors.Is(err, context.Canceled):
		r.log.Error("route cannot run", "route", r.cfg.Name, "consumer", l.consumer, "err", err)
	case err == nil && before != nil:
		r.log.Info("route runs again", "route", r.cfg.Name, "consumer", l.consumer)
	}
}

func (r *route) setDeadLetterTrouble(err error) {
	r.mu.Lock()
	before := r.deadTrouble
	r.deadTrouble = err
	r.mu.Unlock()
	switch {
	case err != nil && before == nil:
		r.log.Error("dead letters cannot be stored; messages stay in their stream", "route", r.cfg.Name, "err", err)
	case err == nil && before != nil:
		r.log.Info("dead letters can be stored again", "route", r.cfg.Name)
	}
}

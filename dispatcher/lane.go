package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"relay/dlqstore"
	"relay/internal/pull"
)

// lane is one durable consumer of a route: the live one on the route's stream, or the
// one that brings replays. Both lead through the same delivery path.
type lane struct {
	route    *route
	stream   string
	consumer string
	// Of a push consumer; empty: it is a pull consumer.
	deliverSubject, deliverGroup string
	// first is what the first look compares with; nil: with a planner of its own.
	first  *planner
	puller *pull.Puller
	silent atomic.Bool // the last session ended for want of heartbeats
	// ensure makes the consumer as the file says, or says what stands in the way.
	ensure func(ctx context.Context) error
	// read fills a delivery from its message.
	read func(ctx context.Context, d *delivery) error
}

// errForeign says that a message on one of relay's own streams is not relay's.
var errForeign = errors.New("not written by relay")

// supervise keeps the lane pulling until ctx ends.
func (l *lane) supervise(ctx context.Context) {
	supervise(ctx, l.consumer, l.route.log, func(ctx context.Context) error {
		err := l.look(ctx)
		l.route.setTrouble(l, err)
		return err
	}, func(ctx context.Context) error {
		err := l.puller.Run(ctx)
		l.silent.Store(errors.Is(err, pull.ErrSilent))
		return err
	})
}

// mostLooks is how many lanes look at their consumers at once: a thousand routes that
// start together would else wait for one another's answers until they time out.
const mostLooks = 128

// look is ensure when its turn has come.
func (l *lane) look(ctx context.Context) error {
	select {
	case l.route.shared.looks <- struct{}{}:
		defer func() { <-l.route.shared.looks }()
		return l.ensure(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// planner is for one look. The first looks of routes that start together share one, so
// that a thousand of them ask for their stream once. Later ones, which know a position on
// the stream, have to see it as it is by then.
func (l *lane) planner() *planner {
	p := l.first
	l.first = nil
	if p == nil {
		p = newPlanner(l.route.shared.js, l.route.shared.file())
	}
	return p
}

// unheard says that the server answered no pull request of the last session, nor yet of
// this one: the look at the consumer finds nothing wrong with it then.
func (l *lane) unheard() error {
	if !l.silent.Load() || l.puller.Heard() {
		return nil
	}
	return fmt.Errorf("the server answers no pull request: may relay's user publish to $JS.API.CONSUMER.MSG.NEXT.%s.%s, and subscribe to its inbox?", l.stream, l.consumer)
}

// supervise makes sure of a consumer and runs a session on it, until ctx ends. Whatever
// breaks a session leads to a look at the consumer and a new session, at once after a
// reconnect or a change of leader, else after a growing pause.
func supervise(ctx context.Context, consumer string, log *slog.Logger, ensure, session func(context.Context) error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond),
		backoff.WithMaxInterval(10*time.Second),
		backoff.WithMaxElapsedTime(0))
	for {
		err := ensure(ctx)
		if err == nil {
			began := time.Now()
			err = session(ctx)
			if time.Since(began) > pause.MaxInterval {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		d := pause.NextBackOff()
		if errors.Is(err, pull.ErrReconnected) || errors.Is(err, pull.ErrLeader) {
			d = pause.InitialInterval
		}
		log.Debug("session ended", "consumer", consumer, "err", err, "retry_in", d)
		if sleep(ctx, d) != nil {
			return
		}
	}
}

// readLive fills a delivery from a message of the route's stream.
func (l *lane) readLive(_ context.Context, d *delivery) error {
	d.Attempt = attemptOf(d.meta)
	d.Subject, d.Stream = d.msg.Subject, l.stream
	d.Sequence, d.EventTime, d.since = d.meta.Sequence.Stream, d.meta.Timestamp, d.meta.Timestamp
	d.Headers, d.Body = d.msg.Header, d.msg.Data
	d.ID = dlqstore.NewID(l.route.cfg.Name, d.Stream, d.Sequence, d.EventTime)
	return nil
}

// readReplay fills a delivery from a message of the replay lane: it is the dead
// letter's, with an attempt budget of its own.
func (l *lane) readReplay(ctx context.Context, d *delivery) error {
	d.Attempt = attemptOf(d.meta)
	d.Subject, d.since = d.msg.Subject, d.meta.Timestamp
	r, whole, err := dlqstore.DecodeReplay(d.msg.Header, d.msg.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	d.ID, d.replay = r.ID, r.Number
	if !whole {
		if l.route.shared.overflow == nil {
			return fmt.Errorf("the payload of %s stands in a database, and none is configured", r.ID)
		}
		dl, err := l.route.shared.overflow.Get(ctx, r.ID)
		if err != nil {
			return fmt.Errorf("read the payload of %s: %w", r.ID, err)
		}
		r.DeadLetter = dl
	}
	d.Subject, d.Stream, d.Sequence, d.EventTime = r.OriginalSubject, r.Stream, r.StreamSequence, r.PublishedAt
	d.Headers, d.Body = r.Headers, r.Payload
	d.ReplayOf = r.ID
	if r.ReplayOf != "" {
		d.ReplayOf = r.ReplayOf
	}
	return nil
}

func attemptOf(meta *nats.MsgMetadata) int {
	return int(min(meta.NumDelivered, 1<<30))
}

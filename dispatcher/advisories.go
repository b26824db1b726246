package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/pull"
	"relay/routes"
)

// JetStream tells by an advisory when a consumer gives a message up: because it was
// delivered as often as a MaxDeliver that somebody set allows, because somebody
// terminated it, or because the stream's limits removed it. A relay that is down must
// hear of it too, so the advisories are kept in a stream, and one durable consumer
// shares them out among the processes.

const (
	advisoriesStream  = "RELAY_ADVISORIES"
	advisoriesDurable = "relay-advisories"
	// advisoriesMaxAge outlasts a weekend without relay.
	advisoriesMaxAge   = 3 * 24 * time.Hour
	advisoriesMaxBytes = 64 << 20
	advisoriesAckWait  = time.Minute
	// advisoriesAtOnce is how many are worked on side by side.
	advisoriesAtOnce = 16

	maxDeliveriesSubject = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>"
	terminatedSubject    = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"
)

// advisory is what relay reads of the two kinds (nats-server's
// io.nats.jetstream.advisory.v1.max_deliver and .terminated).
type advisory struct {
	Type        string    `json:"type"`
	At          time.Time `json:"timestamp"`
	Stream      string    `json:"stream"`
	Consumer    string    `json:"consumer"`
	StreamSeq   uint64    `json:"stream_seq"`
	ConsumerSeq uint64    `json:"consumer_seq"`
	Deliveries  uint64    `json:"deliveries"`
	Reason      string    `json:"reason"`
}

// Values of the label by of relay_messages_taken_total.
const (
	takenByMaxDeliver = "max_deliver"
	takenByTerm       = "term"
	takenByRemoval    = "removal"
)

// by says who took the message, and the reason that a dead letter of it has.
func (a advisory) by() (by string, reason dlqstore.Reason, why string) {
	switch {
	case strings.HasSuffix(a.Type, ".max_deliver"):
		return takenByMaxDeliver, dlqstore.Exhausted,
			fmt.Sprintf("consumer %q gave the message up after %d deliveries: somebody set MaxDeliver on it", a.Consumer, a.Deliveries)
	case a.Reason == "Message deleted by stream limits", a.Reason == "Unacknowledged message was deleted": // nats-server's words
		return takenByRemoval, dlqstore.Expired, fmt.Sprintf("it was removed from stream %q before it was settled", a.Stream)
	default:
		return takenByTerm, dlqstore.Aborted, fmt.Sprintf("somebody else terminated the message (%q)", a.Reason)
	}
}

func advisoriesConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: advisoriesStream, Subjects: []string{maxDeliveriesSubject, terminatedSubject},
		Description: "what JetStream says of messages that a consumer gave up",
		Storage:     jetstream.FileStorage, MaxAge: advisoriesMaxAge, MaxBytes: advisoriesMaxBytes, Replicas: replicas,
	}
}

// sweep reads the advisories until ctx ends, and returns when those in hand are done.
func (d *Dispatcher) sweep(ctx, work context.Context) {
	s := d.shared
	var inHand sync.WaitGroup
	var puller *pull.Puller
	puller = pull.New(pull.Options{
		Conn: s.conn, Stream: advisoriesStream, Consumer: advisoriesDurable, Budget: s.budget, Limit: advisoriesAtOnce,
		Handle: func(m *nats.Msg) {
			inHand.Go(func() {
				defer puller.Release(m)
				// A lost ack costs a second look, which finds the dead letter's id known.
				if d.swept(work, m.Data) {
					_ = ack(s.conn, m)
				} else {
					_ = nak(s.conn, m, advisoriesAckWait)
				}
			})
		},
	})
	said := ""
	supervise(ctx, advisoriesDurable, s.log,
		func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			_, err := s.js.CreateOrUpdateConsumer(ctx, advisoriesStream, jetstream.ConsumerConfig{
				Durable: advisoriesDurable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: advisoriesAckWait, MaxDeliver: -1,
			})
			if err != nil && err.Error() != said && ctx.Err() == nil {
				said = err.Error()
				s.log.Warn("nobody is told of messages that others take from relay's consumers", "stream", advisoriesStream, "err", err)
			}
			return err
		}, puller.Run)
	inHand.Wait()
}

// swept says whether an advisory is done with: it is relay's own, means no consumer of
// relay's, or what it tells has been reported and the message, if it is still there,
// kept.
func (d *Dispatcher) swept(ctx context.Context, data []byte) bool {
	var a advisory
	if json.Unmarshal(data, &a) != nil || a.Stream == "" || strings.HasPrefix(a.Reason, termedByRelay) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, advisoriesAckWait/2)
	defer cancel()
	for _, r := range d.running() {
		for _, l := range []*lane{r.live, r.replay} {
			if l.stream == a.Stream && l.consumer == a.Consumer {
				return l.taken(ctx, a)
			}
		}
	}
	// Another relay, with another file, may run the route.
	c, err := consumerMetadata(ctx, d.shared.js, a.Stream, a.Consumer)
	return err == nil && c[metaRoute] == ""
}

// consumerMetadata is empty for a consumer that is not there.
func consumerMetadata(ctx context.Context, js jetstream.JetStream, stream, consumer string) (map[string]string, error) {
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := consumerInfo(ctx, s, consumer)
	if err != nil || info == nil {
		return nil, err
	}
	return info.Config.Metadata, nil
}

// taken reports a message that was taken from the lane and, while its stream still has
// it, makes it a dead letter. It returns false when that has to be tried again.
func (l *lane) taken(ctx context.Context, a advisory) bool {
	r := l.route
	by, reason, why := a.by()
	d, err := l.find(ctx, a)
	if err != nil {
		r.log.Warn("a message that was taken is not kept yet", "route", r.cfg.Name, "stream", a.Stream, "stream_seq", a.StreamSeq, "err", err)
		return false
	}
	kept := "no, its stream does not have it any more"
	if d != nil {
		out := r.park(ctx, d, Outcome{Verdict: routes.Term, Attempt: attemptOf(d.meta), Reason: reason, Error: why})
		if out.Verdict != routes.Term {
			return false // the route's state says why
		}
		// On a work-queue or interest stream it would else stay for ever.
		r.settle(d, out)
		kept = "as a dead letter"
	}
	r.metrics.taken(by)
	r.log.LogAttrs(ctx, slog.LevelWarn, "message taken from relay", slog.String("route", r.cfg.Name), slog.String("stream", a.Stream),
		slog.Uint64("stream_seq", a.StreamSeq), slog.String("consumer", a.Consumer), slog.String("by", by),
		slog.Uint64("deliveries", a.Deliveries), slog.String("kept", kept), slog.String("err", why))
	return true
}

// find reads the message that an advisory tells of from its stream; nil: it has gone,
// or the stream was made anew and has another one in its place.
func (l *lane) find(ctx context.Context, a advisory) (*delivery, error) {
	stream, err := l.route.shared.js.Stream(ctx, a.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %q: %w", a.Stream, err)
	}
	m, err := stream.GetMsg(ctx, a.StreamSeq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), err == nil && m.Time.After(a.At):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read message %d of stream %q: %w", a.StreamSeq, a.Stream, err)
	}
	d := &delivery{
		lane: l,
		// Its reply is the subject by which JetStream knows the delivery (NATS ADR-15).
		msg: &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data, Reply: fmt.Sprintf("$JS.ACK.%s.%s.%d.%d.%d.%d.0",
			a.Stream, a.Consumer, a.Deliveries, a.StreamSeq, a.ConsumerSeq, m.Time.UnixNano())},
		meta: &nats.MsgMetadata{
			Stream: a.Stream, Consumer: a.Consumer, NumDelivered: a.Deliveries, Timestamp: m.Time,
			Sequence: nats.SequencePair{Stream: a.StreamSeq, Consumer: a.ConsumerSeq},
		},
	}
	if err := l.read(ctx, d); errors.Is(err, errForeign) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return d, nil
}

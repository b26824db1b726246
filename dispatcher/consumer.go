package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/routes"
)

// requestTimeout bounds one request to JetStream's API.
const requestTimeout = 5 * time.Second

// Metadata keys of the consumers that relay manages.
const (
	metaRoute = "relay.route"
	// metaStart holds where the consumer began as the file says it. The consumer's own
	// deliver policy differs from it after a recreate that kept the position.
	metaStart = "relay.start"
)

// ensureLive makes the route's consumer what the file says: creates it, updates what
// can be updated, and refuses to touch what is not relay's.
func (r *route) ensureLive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := r.shared.js.Stream(ctx, r.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if declared, ok := r.shared.declared(r.cfg.Stream); ok {
			stream, err = r.shared.ensureStream(ctx, declared)
		} else {
			return &trouble{StateWaiting, fmt.Sprintf(
				"there is no stream %q: list it under streams: for relay to create it, or create it yourself (nats stream add %s)",
				r.cfg.Stream, r.cfg.Stream)}
		}
	}
	if err != nil {
		return fmt.Errorf("look at stream %q: %w", r.cfg.Stream, err)
	}
	want := liveConfig(r.cfg)
	have, err := consumerInfo(ctx, stream, want.Durable)
	if err != nil {
		return err
	}
	if have == nil {
		r.keepPosition(&want, stream.CachedInfo())
		if _, err := stream.CreateConsumer(ctx, want); err != nil {
			return fmt.Errorf("create consumer %q on stream %q: %w", want.Durable, r.cfg.Stream, err)
		}
		r.sawStream(stream.CachedInfo())
		return nil
	}
	r.sawStream(stream.CachedInfo())
	if err := compatible(have.Config, want); err != nil {
		return &trouble{StateMisconfigured, err.Error()}
	}
	if merged, changed := merge(have.Config, want); changed {
		if _, err := stream.UpdateConsumer(ctx, merged); err != nil {
			return fmt.Errorf("update consumer %q of stream %q: %w", want.Durable, r.cfg.Stream, err)
		}
	}
	return nil
}

// ensureReplay makes the consumer of the route's replay lane.
func (r *route) ensureReplay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := r.shared.js.CreateOrUpdateConsumer(ctx, dlqstore.ReplayStream, replayConfig(r.cfg)); err != nil {
		return fmt.Errorf("create consumer %q on stream %q: %w", replayDurable(r.cfg.Name), dlqstore.ReplayStream, err)
	}
	return nil
}

// liveConfig is the consumer that a route asks for. It has no BackOff, which would be
// added to every nak's delay, and no MaxDeliver, which would strand a message whose
// last attempt killed its worker (both measured): relay counts attempts itself.
func liveConfig(r routes.Route) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:        r.Consumer.Durable,
		Description:    r.Description,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        r.Consumer.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  r.Consumer.MaxAckPending,
		FilterSubjects: r.FilterSubjects,
		Metadata:       map[string]string{metaRoute: r.Name, metaStart: start(r.Consumer)},
	}
	if r.Order == routes.OrderStrict {
		// A message that waits for its retry keeps its place, so one place keeps the
		// stream's order, over all processes.
		c.MaxAckPending = 1
	}
	switch r.Consumer.DeliverPolicy {
	case routes.DeliverNew:
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case routes.DeliverLast:
		c.DeliverPolicy = jetstream.DeliverLastPolicy
	case routes.DeliverLastPerSubject:
		c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case routes.DeliverByStartSequence:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.Consumer.StartSequence
	case routes.DeliverByStartTime:
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Consumer.StartTime
	case routes.DeliverAll:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return c
}

func replayConfig(r routes.Route) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       replayDurable(r.Name),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       r.Consumer.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: r.Consumer.MaxAckPending,
		FilterSubject: dlqstore.ReplaySubjectPrefix + r.Name,
		Metadata:      map[string]string{metaRoute: r.Name},
	}
}

func replayDurable(route string) string { return "relay-replay-" + route }

// start says where a consumer begins, as metaStart holds it.
func start(c routes.Consumer) string {
	switch c.DeliverPolicy {
	case routes.DeliverByStartSequence:
		return fmt.Sprintf("%s %d", c.DeliverPolicy, c.StartSequence)
	case routes.DeliverByStartTime:
		return fmt.Sprintf("%s %s", c.DeliverPolicy, c.StartTime.UTC().Format(time.RFC3339Nano))
	default:
		return string(c.DeliverPolicy)
	}
}

// compatible says what keeps relay from using the consumer that is there.
func compatible(have, want jetstream.ConsumerConfig) error {
	name := want.Durable
	switch owner := have.Metadata[metaRoute]; {
	case owner == "":
		return fmt.Errorf("consumer %q is there and is not managed by relay: give the route another consumer.durable, or delete it (nats consumer rm)", name)
	case owner != want.Metadata[metaRoute]:
		return fmt.Errorf("consumer %q belongs to route %q: give this route another consumer.durable", name, owner)
	}
	var wrong []string
	if len(have.BackOff) > 0 {
		wrong = append(wrong, "it has BackOff, which would be added to every retry's delay")
	}
	if have.MaxDeliver > 0 {
		wrong = append(wrong, fmt.Sprintf("it has MaxDeliver %d, after which JetStream would give messages up", have.MaxDeliver))
	}
	if have.AckPolicy != want.AckPolicy {
		wrong = append(wrong, "its ack policy is not explicit")
	}
	if have.DeliverSubject != want.DeliverSubject {
		wrong = append(wrong, "it is a push consumer")
	}
	if s := have.Metadata[metaStart]; s != want.Metadata[metaStart] {
		wrong = append(wrong, fmt.Sprintf("it began with deliver_policy %s and the file says %s", s, want.Metadata[metaStart]))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("consumer %q cannot be used as it is: %s; delete it for relay to create it anew, or put the file back", name, strings.Join(wrong, "; "))
	}
	return nil
}

// merge puts what the file says and JetStream can change in place into the
// consumer's configuration, and says whether that changes anything.
func merge(have, want jetstream.ConsumerConfig) (jetstream.ConsumerConfig, bool) {
	filters := have.FilterSubjects
	if have.FilterSubject != "" {
		filters = []string{have.FilterSubject}
	}
	same := have.Description == want.Description && have.AckWait == want.AckWait &&
		have.MaxAckPending == want.MaxAckPending && slices.Equal(filters, want.FilterSubjects)
	have.Description, have.AckWait, have.MaxAckPending = want.Description, want.AckWait, want.MaxAckPending
	have.FilterSubject, have.FilterSubjects = "", want.FilterSubjects
	return have, !same
}

// keepPosition lets a consumer that was deleted behind relay's back begin where it
// stood, not where the file says a new one begins: else the whole stream would be
// delivered again. On a stream that was made anew the old position means nothing.
func (r *route) keepPosition(c *jetstream.ConsumerConfig, stream *jetstream.StreamInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.positioned || !r.streamCreated.Equal(stream.Created) {
		return
	}
	c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, r.floor+1, nil
}

func consumerInfo(ctx context.Context, stream jetstream.Stream, name string) (*jetstream.ConsumerInfo, error) {
	c, err := stream.Consumer(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		push, err := stream.PushConsumer(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %q: %w", name, err)
		}
		return push.CachedInfo(), nil
	case err != nil:
		return nil, fmt.Errorf("look at consumer %q: %w", name, err)
	}
	return c.CachedInfo(), nil
}

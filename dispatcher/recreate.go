package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// A recreate deletes a consumer and creates it anew where it stood. In between, a
// consumer that nobody reads, the keeper, holds the position: on an interest stream
// the messages would else be gone with the consumer, and after a crash nobody would
// know where it stood. A work-queue stream needs none, and allows none: what is in it
// is what is not settled.

// metaFrom is the metadata key of a consumer made by a recreate: the sequence at
// which it began, and a sign that its keeper may still be there.
const metaFrom = "relay.from"

func keeperOf(durable string) string { return "relay-keep-" + durable }

// recreate is the one way in which relay deletes a consumer that a route uses. Cut off
// anywhere, it loses nothing: createAgain and leftover go on with it.
func (p *planner) recreate(ctx context.Context, stream jetstream.Stream, have *jetstream.ConsumerInfo, want jetstream.ConsumerConfig) error {
	name := stream.CachedInfo().Config.Name
	want.PauseUntil = have.Config.PauseUntil
	if workQueue(stream) {
		if err := stream.DeleteConsumer(ctx, want.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
		want.DeliverPolicy, want.OptStartSeq, want.OptStartTime = jetstream.DeliverAllPolicy, 0, nil
		return p.create(ctx, name, want)
	}
	keeper := jetstream.ConsumerConfig{
		Durable: keeperOf(want.Durable), Description: "holds a position while " + want.Durable + " is created anew",
		AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: filtersOf(want),
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: have.AckFloor.Stream + 1,
		Metadata: map[string]string{metaRoute: want.Metadata[metaRoute]},
	}
	there, err := consumerInfo(ctx, stream, keeper.Durable)
	switch {
	case err != nil:
		return err
	case there != nil: // of a recreate that was cut off before it deleted anything
		keeper.OptStartSeq = there.Config.OptStartSeq
	default:
		if err := p.create(ctx, name, keeper); err != nil {
			return fmt.Errorf("hold the position: %w", err)
		}
	}
	if err := stream.DeleteConsumer(ctx, want.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	return p.createFrom(ctx, stream, want, keeper.OptStartSeq)
}

// createFrom creates the consumer at the keeper's position and lets the keeper go.
func (p *planner) createFrom(ctx context.Context, stream jetstream.Stream, want jetstream.ConsumerConfig, sequence uint64) error {
	want = beginAt(want, sequence)
	want.Metadata = maps.Clone(want.Metadata)
	want.Metadata[metaFrom] = strconv.FormatUint(sequence, 10)
	if err := p.create(ctx, stream.CachedInfo().Config.Name, want); err != nil {
		return err
	}
	return dropKeeper(ctx, stream, want.Durable)
}

// createAgain completes the step for a consumer that is not there: it may have been,
// and then it goes on where it stood.
func (p *planner) createAgain(ctx context.Context, s Step, stream jetstream.Stream, want jetstream.ConsumerConfig, known *position) (Step, error) {
	if workQueue(stream) {
		return s, nil
	}
	keeper, err := consumerInfo(ctx, stream, keeperOf(want.Durable))
	switch {
	case err != nil:
		return s, err
	case keeper != nil:
		from := keeper.Config.OptStartSeq
		s.Note = fmt.Sprintf("begins at sequence %d, where it stood when its recreate was cut off", from)
		s.do = func(ctx context.Context) error { return p.createFrom(ctx, stream, want, from) }
	case known != nil && known.streamCreated.Equal(stream.CachedInfo().Created):
		// On a stream that was made anew the old position means nothing.
		s.Note = fmt.Sprintf("begins at sequence %d, where it stood when it was deleted", known.floor+1)
		s.do = func(ctx context.Context) error { return p.create(ctx, s.Stream, beginAt(want, known.floor+1)) }
	}
	return s, nil
}

// leftover completes the step for a consumer whose recreate was cut off at its end.
func (p *planner) leftover(ctx context.Context, s Step, stream jetstream.Stream) (Step, error) {
	keeper, err := consumerInfo(ctx, stream, keeperOf(s.Consumer))
	if err != nil {
		return s, err
	}
	s.Action = Leave
	if keeper != nil {
		s.Action, s.Note = Update, fmt.Sprintf("consumer %q, left by a recreate that was cut off, is removed", keeper.Name)
		s.do = func(ctx context.Context) error { return dropKeeper(ctx, stream, s.Consumer) }
	}
	return s, nil
}

func dropKeeper(ctx context.Context, stream jetstream.Stream, durable string) error {
	err := stream.DeleteConsumer(ctx, keeperOf(durable))
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer %q: %w", keeperOf(durable), err)
	}
	return nil
}

// recreateNote says what a recreate does to the position.
func recreateNote(retention jetstream.RetentionPolicy, have *jetstream.ConsumerInfo) string {
	if retention == jetstream.WorkQueuePolicy {
		return "position kept: the stream holds what is not settled; attempts count from 1 again"
	}
	again := ""
	if n := int64(have.Delivered.Stream) - int64(have.AckFloor.Stream) - int64(have.NumAckPending); n > 0 { //nolint:gosec // sequences of a stream stay far below the limit
		again = fmt.Sprintf("; up to %d messages that were settled above it are delivered again", n)
	}
	return fmt.Sprintf("position kept: it goes on at sequence %d%s; attempts count from 1 again", have.AckFloor.Stream+1, again)
}

func beginAt(c jetstream.ConsumerConfig, sequence uint64) jetstream.ConsumerConfig {
	c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, sequence, nil
	return c
}

func workQueue(stream jetstream.Stream) bool {
	return stream.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy
}

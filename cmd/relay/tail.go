package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tail reads along with a stream through a consumer of its own that acks nothing and
// goes when tail ends, so that no other consumer notices.
type tail struct {
	js     jetstream.JetStream
	stream string
	config jetstream.ConsumerConfig // where it begins, and after each message where it would begin anew
	stderr io.Writer
}

const (
	// tailLinger is after how long the server removes the consumer of a tail that
	// died.
	tailLinger = time.Minute
	tailWait   = 5 * time.Second // of one request for a message
	tailPause  = time.Second     // before a new consumer, when the last one was lost
)

// newTail makes the tail of a stream, of the messages since a time, or with the zero
// time of those that are still to come.
func newTail(ctx context.Context, js jetstream.JetStream, stream string, filters []string, since time.Time, stderr io.Writer) (*tail, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("look at stream %q: %w", stream, err)
	}
	if s.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy {
		return nil, fmt.Errorf("stream %q is a work queue: each message goes to one consumer only, so nobody can read along", stream)
	}
	c := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: tailLinger, FilterSubjects: filters,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.CachedInfo().State.LastSeq + 1,
	}
	if !since.IsZero() {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &since
	}
	return &tail{js: js, stream: stream, config: c, stderr: stderr}, nil
}

// run hands over one message after the other until ctx ends. A consumer that is lost,
// to a restart of the server for one, is replaced by one that goes on behind the last
// message. The error is that of the first consumer, which could not be made.
func (t *tail) run(ctx context.Context, handle func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	for first := true; ctx.Err() == nil; first = false {
		c, err := t.js.CreateConsumer(ctx, t.stream, t.config)
		if err == nil {
			err = t.follow(ctx, c, handle)
			t.remove(ctx, c)
		} else if first && ctx.Err() == nil {
			return fmt.Errorf("make a consumer of stream %q: %w", t.stream, err)
		}
		select {
		case <-ctx.Done(): // follow ended for that
		case <-time.After(tailPause):
			fmt.Fprintf(t.stderr, "listening anew: %s\n", err)
		}
	}
	return nil
}

var errTailGap = errors.New("a message was lost on the way")

// follow hands over the messages of one consumer until that is lost.
func (t *tail) follow(ctx context.Context, c jetstream.Consumer, handle func(jetstream.Msg, *jetstream.MsgMetadata)) error {
	for seen := uint64(0); ; {
		wait, cancel := context.WithTimeout(ctx, tailWait)
		batch, err := c.Fetch(1, jetstream.FetchContext(wait))
		if err != nil {
			cancel()
			return err
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil || meta.Sequence.Consumer != seen+1 {
				cancel()
				return errors.Join(err, errTailGap)
			}
			seen++
			handle(m, meta)
			t.config.DeliverPolicy, t.config.OptStartSeq, t.config.OptStartTime = jetstream.DeliverByStartSequencePolicy, meta.Sequence.Stream+1, nil
		}
		cancel()
		if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// remove spares the server the wait for tailLinger; it removes the consumer anyhow.
func (t *tail) remove(ctx context.Context, c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = t.js.DeleteConsumer(ctx, t.stream, c.CachedInfo().Name)
}

package dlqstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"relay/internal/failpoint"
	"relay/internal/pull"
)

// errRefused says that the database did not take a batch.
var errRefused = errors.New("the database did not take a batch")

// session pulls and projects until ctx ends, the pull breaks, or the database does not
// take a batch. It calls done after each one that it took.
func (p *Projector) session(ctx context.Context, stream string, done func()) error {
	ctx, cancel := context.WithCancel(ctx)
	limit := 2 * p.batch // one in the transaction, one on its way
	came := make(chan *nats.Msg, limit)
	var held hand
	puller := pull.New(pull.Options{
		Conn: p.js.Conn(), Stream: stream, Consumer: projectorDurable, Limit: limit, Budget: p.budget,
		Handle: func(m *nats.Msg) { // never more than the limit
			held.take(m)
			came <- m
		},
	})
	broken := make(chan error, 1)
	var pulling sync.WaitGroup
	pulling.Go(func() { broken <- puller.Run(ctx) })
	pulling.Go(func() { held.keep(ctx, p.ackWait/3) })

	var err error
	for err == nil && ctx.Err() == nil {
		var msgs []*nats.Msg
		if msgs, err = collectBatch(came, broken, p.batch); len(msgs) == 0 {
			continue
		}
		if refusal := p.project(ctx, stream, msgs); refusal != nil {
			err = fmt.Errorf("%w: %w", errRefused, refusal)
		} else {
			done()
		}
		for _, m := range msgs {
			held.drop(m)
			puller.Release(m)
		}
	}
	cancel()
	ended := make(chan struct{})
	go func() {
		pulling.Wait()
		close(ended)
	}()
	// What still comes is for the next session, or another process. The puller ends
	// only when somebody takes it from its hands.
	for {
		select {
		case m := <-came:
			_ = m.Nak()
			continue
		case <-ended:
		}
		for len(came) > 0 {
			_ = (<-came).Nak()
		}
		return err
	}
}

// hand is the messages that a session has and has not acked. The zero hand is empty.
type hand struct {
	mu   sync.Mutex
	msgs map[*nats.Msg]bool // true: since the last round, or longer
}

func (h *hand) take(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.msgs == nil {
		h.msgs = map[*nats.Msg]bool{}
	}
	h.msgs[m] = false
}

func (h *hand) drop(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.msgs, m)
}

// keep tells the server, until ctx ends, of messages that were there a round before, so
// that it does not send them again: a transaction may take longer than AckWait.
func (h *hand) keep(ctx context.Context, round time.Duration) {
	for sleep(ctx, round); ctx.Err() == nil; sleep(ctx, round) {
		h.mu.Lock()
		for m, stays := range h.msgs {
			if stays {
				_ = m.InProgress() // else it comes again, which changes nothing
			}
			h.msgs[m] = true
		}
		h.mu.Unlock()
	}
}

// collectBatch waits for a message and takes what comes soon after it. An error of the
// pull comes with what there is.
func collectBatch(came <-chan *nats.Msg, broken <-chan error, most int) ([]*nats.Msg, error) {
	var msgs []*nats.Msg
	select {
	case m := <-came:
		msgs = append(msgs, m)
	case err := <-broken:
		return nil, err
	}
	linger := time.NewTimer(batchLinger)
	defer linger.Stop()
	for size := msgs[0].Size(); len(msgs) < most && size < batchBytes; {
		select {
		case m := <-came:
			msgs = append(msgs, m)
			size += m.Size()
		case err := <-broken:
			return msgs, err
		case <-linger.C:
			return msgs, nil
		}
	}
	return msgs, nil
}

// project writes the messages and acks them after the COMMIT. When the database does
// not take them they are given back at once, for whoever can.
func (p *Projector) project(ctx context.Context, stream string, msgs []*nats.Msg) error {
	writing, cancel := context.WithTimeout(ctx, projectTimeout)
	defer cancel()
	batch := decodeBatch(stream, msgs)
	writing, written := p.span(writing, stream, batch)
	err := p.store.Project(writing, batch)
	written(err)
	if err == nil {
		failpoint.Hit(failpoint.Committed)
		if batch.endsReplay() {
			failpoint.Hit(failpoint.Recorded)
		}
	}
	for _, m := range msgs {
		if err != nil {
			_ = m.Nak() // else it comes again after AckWait
		} else {
			_ = m.Ack() // a lost ack brings it again, which changes nothing
		}
	}
	return err
}

func decodeBatch(stream string, msgs []*nats.Msg) Batch {
	var b Batch
	for _, m := range msgs {
		if err := b.decode(stream, m); err != nil {
			u := Unreadable{Stream: stream, Subject: m.Subject, Headers: m.Header, Data: m.Data, Reason: err.Error()}
			if meta, err := m.Metadata(); err == nil {
				u.Sequence = meta.Sequence.Stream
			}
			b.Unreadable = append(b.Unreadable, u)
		}
	}
	return b
}

func (b *Batch) decode(stream string, m *nats.Msg) error {
	if stream == AttemptsStream {
		a, err := DecodeAttempt(m.Data)
		if err == nil {
			b.Attempts = append(b.Attempts, a)
		}
		return err
	}
	r, err := Decode(m.Header, m.Data)
	if err == nil {
		b.DeadLetters = append(b.DeadLetters, r)
	}
	return err
}

// endsReplay says whether it tells of the end of a replay.
func (b *Batch) endsReplay() bool {
	return slices.ContainsFunc(b.DeadLetters, func(r Record) bool { return r.Replay > 0 }) ||
		slices.ContainsFunc(b.Attempts, func(a Attempt) bool { return a.Replay > 0 && a.Verdict == "ack" })
}

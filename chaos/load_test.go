package chaos_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/chaos/ledger"
)

// load publishes messages, each under a subject of its own, until JetStream has
// confirmed every one, or it is told to stop.
type load struct {
	routes []string      // those that get its messages
	done   chan struct{} // closed when all are confirmed, or the test is over
	stop   chan struct{} // closed to publish nothing more

	mu        sync.Mutex
	published []ledger.Published
}

// unending is how many messages a load has that goes on until its end.
const unending = 100_000

// flow begins to publish messages, so many a second, until end.
func (h *house) flow(perSecond int) *load { return h.publish(unending, perSecond) }

func (l *load) end() { close(l.stop) }

// publish begins to publish n messages to the stream ORDERS, so many a second. Several
// loads may follow each other; their subjects go on counting.
func (h *house) publish(n, perSecond int) *load {
	return h.publishTo("orders", h.routes, n, perSecond)
}

// publishTo is publish to the stream that has the subjects below that one.
func (h *house) publishTo(subject string, routes []string, n, perSecond int) *load {
	l := &load{routes: routes, done: make(chan struct{}), stop: make(chan struct{})}
	h.loads = append(h.loads, l)
	first := h.numbered
	h.numbered += n
	bodies := rand.New(rand.NewPCG(h.seed, uint64(first)))
	ctx := h.t.Context()
	go func() {
		defer close(l.done)
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := first; i < first+n; i++ {
			m := &nats.Msg{Subject: fmt.Sprintf("%s.%06d", subject, i), Data: h.body(bodies, i)}
			ack, err := confirm(ctx, h.js, m)
			if err != nil {
				return // the test is over
			}
			l.add(m, ack)
			select {
			case <-tick.C:
			case <-l.stop:
				return
			}
		}
	}()
	return l
}

// confirm publishes until there is a PubAck. The id makes a second try harmless.
func confirm(ctx context.Context, js jetstream.JetStream, m *nats.Msg) (*jetstream.PubAck, error) {
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		ack, err := js.PublishMsg(try, m, jetstream.WithMsgID(m.Subject), jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			return ack, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *load) add(m *nats.Msg, ack *jetstream.PubAck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published = append(l.published, ledger.Published{
		Subject: m.Subject, Stream: ack.Stream, Sequence: ack.Sequence, Sum: sha256.Sum256(m.Data), Routes: l.routes,
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.published)
}

// newest is the subject of the last message that was confirmed; empty: none was.
func (l *load) newest() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.published) == 0 {
		return ""
	}
	return l.published[len(l.published)-1].Subject
}

// published are all messages of all loads so far.
func (h *house) published() []ledger.Published {
	var all []ledger.Published
	for _, l := range h.loads {
		l.mu.Lock()
		all = append(all, l.published...)
		l.mu.Unlock()
	}
	return all
}

// takeAway says that the run itself took out of the stream what was published so far.
func (h *house) takeAway() {
	for _, l := range h.loads {
		l.takeAway()
	}
}

func (l *load) takeAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.published {
		l.published[i].Gone = true
	}
}

// body is JSON, or bytes that are nothing, or empty.
func (h *house) body(r *rand.Rand, i int) []byte {
	size := r.IntN(2 << 10)
	if h.bodyBytes > 0 {
		size = h.bodyBytes
	}
	switch kind := r.IntN(10); {
	case kind == 0 && h.bodyBytes == 0:
		return nil
	case kind < 4:
		b := make([]byte, size)
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		return b
	default:
		return fmt.Appendf(nil, `{"number":%d,"filling":"%0*d"}`, i, size, r.Uint32())
	}
}

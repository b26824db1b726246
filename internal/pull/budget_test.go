package pull_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/pull"
	"relay/internal/testkit"
)

// fill publishes payloads of the sizes, in order.
func fill(t *testing.T, js jetstream.JetStream, sizes ...int) {
	t.Helper()
	for _, n := range sizes {
		if _, err := js.Publish(t.Context(), "s.x", bytes.Repeat([]byte("x"), n)); err != nil {
			t.Fatal(err)
		}
	}
}

func times(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// hold takes messages in hand until release.
type hold struct {
	mu     sync.Mutex
	inHand []*nats.Msg
	taken  int
}

func (h *hold) handle(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inHand = append(h.inHand, m)
	h.taken++
}

func (h *hold) count() int { h.mu.Lock(); defer h.mu.Unlock(); return h.taken }

// release acks and gives back what is in hand, and says how many bytes that was.
func (h *hold) release(p *pull.Puller) (size int64) {
	h.mu.Lock()
	list := h.inHand
	h.inHand = nil
	h.mu.Unlock()
	for _, m := range list {
		size += int64(m.Size())
		_ = m.Respond([]byte("+ACK"))
		p.Release(m)
	}
	return size
}

// Large messages that nobody finishes stay under the budget, and all of them come
// through it.
func TestBudgetBoundsBytesInHand(t *testing.T) {
	const budget, messages, size = 16 << 20, 100, 1<<20 - 100
	s := testkit.NATS(t)
	js := newConsumer(t, s, 0)
	fill(t, js, times(messages, size)...)
	var h hold
	b := pull.NewBudget(budget)
	p := start(t, pull.Options{Conn: s.Conn(t), Limit: messages, Handle: h.handle, Budget: b})
	for done := 0; done < messages; {
		// Half a budget of slow messages is the least that has to come.
		want := min(messages, done+4)
		testkit.Eventually(t, func() bool { return h.count() >= want }, "%d messages, %d came", want, h.count())
		if n := b.InHand(); n > budget {
			t.Fatalf("%d bytes in hand, the budget has %d", n, budget)
		}
		h.release(p.Puller)
		done = want
	}
	testkit.Eventually(t, func() bool { h.release(p.Puller); return h.count() == messages && b.InHand() == 0 }, "every message once, and nothing in hand")
	if n := h.count(); n != messages {
		t.Errorf("%d messages came, want %d", n, messages)
	}
}

// Whatever sizes follow one another, every message comes, none twice, and the counts
// of what was asked for do not drift.
func TestBudgetLetsEverySizeThrough(t *testing.T) {
	for name, tt := range map[string]struct {
		budget int64
		sizes  []int
	}{
		"small, then the largest":      {16 << 20, append(times(50, 10), append(times(5, 1<<20-100), times(50, 10)...)...)},
		"all as large as the estimate": {16 << 20, times(2000, 2<<10-100)},
		"larger than the budget":       {64 << 10, []int{10, 1<<20 - 100, 10, 900_000, 10}},
		"no share":                     {1000, times(200, 100)},
		"alternating": {4 << 20, func() (s []int) {
			for i := range 300 {
				s = append(s, 1+(i*7919)%50_000)
			}
			return s
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			s := testkit.NATS(t)
			js := newConsumer(t, s, 0)
			fill(t, js, tt.sizes...)
			var h hold
			b := pull.NewBudget(tt.budget)
			p := start(t, pull.Options{Conn: s.Conn(t), Limit: 32, Handle: h.handle, Budget: b})
			testkit.Eventually(t, func() bool {
				h.release(p.Puller)
				return h.count() >= len(tt.sizes)
			}, "%d messages", len(tt.sizes))
			h.release(p.Puller)
			// A message after a pause comes too: something still waits at the server.
			fill(t, js, 3)
			testkit.Eventually(t, func() bool { return h.count() > len(tt.sizes) }, "one more")
			if n := h.count(); n != len(tt.sizes)+1 {
				t.Errorf("%d messages came, want %d", n, len(tt.sizes)+1)
			}
		})
	}
}

// A request whose max_bytes comes out even ends without a word from the server. It
// must not be taken for one that still waits.
func TestBudgetThatComesOutEven(t *testing.T) {
	const share, messages = 1000, 9
	s := testkit.NATS(t)
	js := newConsumer(t, s, 0)
	reply := len("$JS.ACK.S.c.1.1.1.1700000000000000000.1")
	fill(t, js, times(messages, share-reply-len("s.x"))...)
	var h hold
	b := pull.NewBudget(4096 * share)
	p := start(t, pull.Options{Conn: s.Conn(t), Limit: 10, Budget: b, Handle: func(m *nats.Msg) {
		if m.Size() != share {
			t.Errorf("a message of %d bytes proves nothing, want %d", m.Size(), share)
		}
		h.handle(m)
	}})
	testkit.Eventually(t, func() bool { h.release(p.Puller); return h.count() == messages }, "%d messages", messages)
}

// A puller that holds the whole of the common rest does not keep another from small
// messages, and makes room for its large ones when it lets go.
func TestBudgetIsShared(t *testing.T) {
	const budget = 64 << 20
	s := testkit.NATS(t)
	js := s.JetStream(t)
	b := pull.NewBudget(budget)
	pullers := map[string]*pull.Puller{}
	held := map[string]*hold{"greedy": {}, "other": {}}
	for name, h := range held {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateConsumer(t.Context(), name, jetstream.ConsumerConfig{
			Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy,
		}); err != nil {
			t.Fatal(err)
		}
		p := pull.New(pull.Options{Conn: s.Conn(t), Stream: name, Consumer: consumer, Limit: 1000, Handle: h.handle, Budget: b})
		pullers[name] = p
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-ended })
	}
	large := bytes.Repeat([]byte("x"), 1<<20-100)
	for range 40 {
		if _, err := js.Publish(t.Context(), "greedy", large); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, func() bool { return b.InHand() > 24<<20 }, "the greedy one to hold most of the common rest")
	for i := range 100 {
		if _, err := js.Publish(t.Context(), "other", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, func() bool { held["other"].release(pullers["other"]); return held["other"].count() == 100 }, "small messages beside the flood")
	for range 10 {
		if _, err := js.Publish(t.Context(), "other", large); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, func() bool {
		held["greedy"].release(pullers["greedy"])
		held["other"].release(pullers["other"])
		return held["other"].count() == 110 && held["greedy"].count() == 40
	}, "everything")
}

// Pullers with nothing to do keep nothing from those that have.
func TestBudgetOfIdlePullers(t *testing.T) {
	const budget = 8 << 20
	s := testkit.NATS(t)
	js := newConsumer(t, s, 0)
	b := pull.NewBudget(budget)
	nc := s.Conn(t)
	asked, err := s.Conn(t).SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + stream + ".*")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var idle sync.WaitGroup
	t.Cleanup(func() { cancel(); idle.Wait() })
	for i := range 300 {
		name := fmt.Sprint("idle", i)
		if _, err := js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "s.never",
		}); err != nil {
			t.Fatal(err)
		}
		p := pull.New(pull.Options{Conn: nc, Stream: stream, Consumer: name, Limit: 64, Handle: func(*nats.Msg) {}, Budget: b})
		idle.Go(func() { _ = p.Run(ctx) })
	}
	fill(t, js, times(4, 1<<20-100)...)
	var h hold
	start(t, pull.Options{Conn: s.Conn(t), Limit: 10, Handle: h.handle, Budget: b})
	testkit.Eventually(t, func() bool { return h.count() >= 3 }, "three large messages at once")
	// Each waits with one request, for what its share allows.
	asks := map[string]int{}
	for {
		m, err := asked.NextMsg(time.Second)
		if err != nil {
			break
		}
		asks[m.Subject]++
		if !strings.HasSuffix(m.Subject, "."+consumer) && asks[m.Subject] > 1 {
			t.Fatalf("an idle puller asked again on %s: %s", m.Subject, m.Data)
		}
	}
	if len(asks) != 301 {
		t.Errorf("%d pullers asked, want 301", len(asks))
	}
}

// slowReader reads no faster than a slow network brings.
type slowReader struct{ net.Conn }

func (s slowReader) Read(b []byte) (int, error) {
	<-time.After(200 * time.Microsecond)
	return s.Conn.Read(b[:min(len(b), 64<<10)])
}

type slowDialer struct{}

func (slowDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return slowReader{conn}, err
}

// However much the budget has, no more is asked for at once than the server keeps for
// one connection: it would drop the connection, and all that is on its way.
func TestBudgetAsksForNoMoreThanTheServerKeeps(t *testing.T) {
	const messages, size = 45, 1<<20 - 100
	s := testkit.NATS(t, func(o *server.Options) { o.MaxPending = 20 << 20 })
	js := newConsumer(t, s, 0)
	fill(t, js, times(messages, size)...)
	dropped := make(chan error, 100)
	nc := s.Conn(t, nats.SetCustomDialer(slowDialer{}), nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		if err != nil {
			dropped <- err
		}
	}))
	var h hold
	p := start(t, pull.Options{Conn: nc, Limit: messages, Handle: h.handle, Budget: pull.NewBudget(1 << 30)})
	testkit.Eventually(t, func() bool { return h.count() >= messages || len(dropped) > 0 }, "%d messages", messages)
	h.release(p.Puller)
	if len(dropped) > 0 {
		t.Errorf("the server dropped the connection: %v", <-dropped)
	}
}

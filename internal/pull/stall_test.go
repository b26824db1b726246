package pull_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/pull"
	"relay/internal/testkit"
)

// flow takes messages as relay does: in progress, an event beside it, ack, release,
// each in a goroutine of its own; and keeps the longest pause between two arrivals.
type flow struct {
	p    *pull.Puller
	nc   *nats.Conn
	want int
	done chan struct{}

	mu      sync.Mutex
	taken   int
	last    time.Time
	longest time.Duration
}

func (f *flow) handle(m *nats.Msg) {
	f.mu.Lock()
	now := time.Now()
	f.longest = max(f.longest, now.Sub(f.last))
	f.last = now
	f.taken++
	taken := f.taken
	f.mu.Unlock()
	_ = m.Respond([]byte("+WPI"))
	go func() {
		_ = f.nc.Publish("events", m.Data)
		_ = m.Respond([]byte("+ACK"))
		f.p.Release(m)
		if taken == f.want {
			close(f.done)
		}
	}()
}

// run pulls all of the stream's messages, 64 in flight, and returns the longest pause
// between two of them.
func run(t testing.TB, s *testkit.Server, messages int, budget *pull.Budget) time.Duration {
	t.Helper()
	js := s.JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream, Subjects: []string{"s.>"}, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	}); err != nil {
		t.Fatal(err)
	}
	for range messages {
		if _, err := js.PublishAsync("s.x", []byte("a message of some bytes"), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()

	nc := s.Conn(t)
	f := &flow{nc: nc, want: messages, done: make(chan struct{}), last: time.Now()}
	f.p = pull.New(pull.Options{Conn: nc, Stream: stream, Consumer: consumer, Limit: 64, Handle: f.handle, Budget: budget})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.p.Run(ctx) }()
	select {
	case <-f.done:
	case err := <-ended:
		t.Fatalf("the session ended: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("it stands still")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return f.longest
}

// Client libraries were seen to stand still until a heartbeat is missed, 25 seconds
// and more, under just this load. Here no two messages are further apart than a busy
// machine makes them.
func TestDoesNotStandStill(t *testing.T) {
	if gap := run(t, testkit.NATS(t), 20_000, pull.NewBudget(64<<20)); gap > 5*time.Second {
		t.Errorf("nothing came for %s", gap)
	}
}

// BenchmarkLongestPause tells the longest pause among 200,000 messages.
func BenchmarkLongestPause(b *testing.B) {
	var longest time.Duration
	for b.Loop() {
		longest = max(longest, run(b, testkit.NATS(b), 200_000, pull.NewBudget(256<<20)))
	}
	b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
}

// BenchmarkFirstMessage is the time from a publish to the message in hand, of a puller
// that has been idle.
func BenchmarkFirstMessage(b *testing.B) {
	s := testkit.NATS(b)
	js := s.JetStream(b)
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"s.>"}}); err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateConsumer(b.Context(), stream, jetstream.ConsumerConfig{Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		b.Fatal(err)
	}
	nc := s.Conn(b)
	got := make(chan *nats.Msg, 1)
	p := pull.New(pull.Options{Conn: nc, Stream: stream, Consumer: consumer, Limit: 16, Budget: pull.NewBudget(64 << 20), Handle: func(m *nats.Msg) { got <- m }})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	for b.Loop() {
		if err := nc.Publish("s.x", []byte("x")); err != nil {
			b.Fatal(err)
		}
		m := <-got
		_ = m.Respond([]byte("+ACK"))
		p.Release(m)
	}
	cancel()
	<-ended
}

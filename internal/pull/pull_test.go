package pull_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/pull"
	"relay/internal/testkit"
)

const (
	stream   = "S"
	consumer = "c"
)

// newConsumer makes a stream with n messages and a pull consumer on it.
func newConsumer(t *testing.T, s *testkit.Server, n int) jetstream.JetStream {
	t.Helper()
	js := s.JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
	}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := js.PublishAsync("s.x", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return js
}

// session is a Puller that runs until its stop.
type session struct {
	*pull.Puller
	ended chan error
	stop  context.CancelFunc
}

func start(t *testing.T, o pull.Options) *session {
	t.Helper()
	o.Stream, o.Consumer = stream, consumer
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{pull.New(o), make(chan error, 1), cancel}
	go func() { s.ended <- s.Run(ctx) }()
	t.Cleanup(cancel)
	return s
}

func TestNeverAsksForMoreThanTheLimit(t *testing.T) {
	s := testkit.NATS(t)
	js := newConsumer(t, s, 500)
	var mu sync.Mutex
	var inHand []*nats.Msg
	taken := func() int { mu.Lock(); defer mu.Unlock(); return len(inHand) }
	p := start(t, pull.Options{Conn: s.Conn(t), Limit: 10, Handle: func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		inHand = append(inHand, m)
	}})
	delivered := func() uint64 {
		c, err := js.Consumer(t.Context(), stream, consumer)
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Delivered.Stream
	}
	testkit.Eventually(t, func() bool { return taken() == 10 }, "10 messages in hand")
	if n := delivered(); n != 10 {
		t.Errorf("the server delivered %d messages, want 10", n)
	}
	p.SetLimit(25)
	testkit.Eventually(t, func() bool { return taken() == 25 }, "25 messages in hand")
	for _, m := range inHand[:25] {
		p.Release(m)
	}
	testkit.Eventually(t, func() bool { return taken() == 50 }, "25 more")
	p.SetLimit(0)
	for _, m := range inHand[25:50] {
		p.Release(m)
	}
	if n := delivered(); n != 50 {
		t.Errorf("the server delivered %d messages, want 50", n)
	}
}

// What waits in hand gives time to ask for many at once.
func TestAsksSeldomWhileMessagesWait(t *testing.T) {
	const messages, spare = 1200, 32
	s := testkit.NATS(t)
	newConsumer(t, s, messages)
	conn := s.Conn(t)
	requests, err := conn.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan *nats.Msg, messages)
	p := start(t, pull.Options{Conn: conn, Limit: 1, Handle: func(m *nats.Msg) { waiting <- m }})
	p.SetLimits(1, spare)
	for range messages {
		p.Release(<-waiting)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	n, _, err := requests.Pending()
	if err != nil {
		t.Fatal(err)
	}
	if most := messages / (spare / 2); n > most {
		t.Errorf("%d requests for %d messages, want %d at most", n, messages, most)
	}
}

// A nudge brings the server to look long before the request that waits ends, and takes no
// message away from it.
func TestNudge(t *testing.T) {
	const messages = 3
	s := testkit.NATS(t)
	js := newConsumer(t, s, messages)
	if _, err := js.PauseConsumer(t.Context(), stream, consumer, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t)
	var handled atomic.Int32
	start(t, pull.Options{Conn: nc, Limit: messages, Handle: func(*nats.Msg) { handled.Add(1) }})
	testkit.Eventually(t, func() bool {
		c, err := js.Consumer(t.Context(), stream, consumer)
		return err == nil && c.CachedInfo().NumWaiting == 1
	}, "a request at the server")
	if _, err := js.ResumeConsumer(t.Context(), stream, consumer); err != nil {
		t.Fatal(err)
	}
	if err := pull.Nudge(nc, stream, consumer); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return handled.Load() == messages }, "%d messages", messages)
}

// A stored message with the headers of a protocol message is a message.
func TestHandsOnMessagesThatLookLikeProtocol(t *testing.T) {
	s := testkit.NATS(t)
	js := newConsumer(t, s, 0)
	for _, h := range []nats.Header{
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"100"}},
		{"Status": {"408"}, "Nats-Pending-Messages": {"5"}},
	} {
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "s.x", Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan *nats.Msg, 10)
	start(t, pull.Options{Conn: s.Conn(t), Limit: 10, Handle: func(m *nats.Msg) { got <- m }})
	for range 3 {
		if m := <-got; m.Subject != "s.x" || m.Header.Get("Status") == "" {
			t.Errorf("got %s %v", m.Subject, m.Header)
		}
	}
}

func TestRunTellsWhyASessionEnded(t *testing.T) {
	for name, tt := range map[string]struct {
		disturb func(t *testing.T, s *testkit.Server, js jetstream.JetStream)
		want    error
	}{
		"consumer deleted": {func(t *testing.T, _ *testkit.Server, js jetstream.JetStream) {
			if err := js.DeleteConsumer(t.Context(), stream, consumer); err != nil {
				t.Fatal(err)
			}
		}, pull.ErrConsumerGone},
		"stream deleted": {func(t *testing.T, _ *testkit.Server, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
		}, pull.ErrConsumerGone},
		"server restarted": {func(t *testing.T, s *testkit.Server, _ jetstream.JetStream) { s.Restart(t) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := testkit.NATS(t)
			js := newConsumer(t, s, 1)
			got := make(chan *nats.Msg, 1)
			p := start(t, pull.Options{
				Conn: s.Conn(t, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)), Limit: 5,
				Handle: func(m *nats.Msg) { got <- m },
			})
			<-got
			tt.disturb(t, s, js)
			err := <-p.ended
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.want == nil && !errors.Is(err, pull.ErrReconnected) && !errors.Is(err, pull.ErrLeader) {
				t.Errorf("got %v, want ErrReconnected or ErrLeader", err)
			}
		})
	}
	t.Run("no consumer", func(t *testing.T) {
		s := testkit.NATS(t)
		p := start(t, pull.Options{Conn: s.Conn(t), Limit: 5, Handle: func(*nats.Msg) {}})
		if err := <-p.ended; !errors.Is(err, pull.ErrConsumerGone) {
			t.Errorf("got %v, want ErrConsumerGone", err)
		}
	})
}

// What the server has sent by the time of a stop is handed on, not lost on the way
// until its AckWait has passed.
func TestStopLosesNothingOnItsWay(t *testing.T) {
	s := testkit.NATS(t)
	js := newConsumer(t, s, 2000)
	for range 20 {
		var mu sync.Mutex
		taken := 0
		first := make(chan struct{}, 2000)
		p := start(t, pull.Options{Conn: s.Conn(t), Limit: 100, Handle: func(m *nats.Msg) {
			mu.Lock()
			taken++
			mu.Unlock()
			_ = m.Respond([]byte("+ACK"))
			first <- struct{}{}
		}})
		<-first
		p.stop()
		if err := <-p.ended; err != nil {
			t.Fatal(err)
		}
	}
	// All that was delivered was handed on and acked; nothing waits for an AckWait.
	testkit.Eventually(t, func() bool {
		c, err := js.Consumer(t.Context(), stream, consumer)
		return err == nil && c.CachedInfo().NumAckPending == 0
	}, "nothing delivered and not acked")
}

package dispatcher_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
)

// BenchmarkHealthyAmongFailing tells how long the healthy message waits that comes after
// 10,000 which the receiver refuses, for good or for now, and what the messages of
// another route notice meanwhile: the 99th percentile of their latency, beside the flood
// and without it. A receiver that answers at once leaves the CPUs no rest, so that the
// others wait for those: a flood that it takes shows how much of it is not the failing.
// One that takes its time, half as long again or half as long as the name says, leaves
// them free. The NATS server is another process.
func BenchmarkHealthyAmongFailing(b *testing.B) {
	const slow = 50 * time.Millisecond
	for _, f := range []struct {
		status  int
		answers time.Duration
	}{{http.StatusNoContent, 0}, {http.StatusUnprocessableEntity, 0}, {http.StatusConflict, 0}, {http.StatusNoContent, slow}, {http.StatusUnprocessableEntity, slow}, {http.StatusConflict, slow}} {
		b.Run(fmt.Sprintf("%d-after-%s", f.status, f.answers), func(b *testing.B) { healthyAmongFailing(b, f.status, f.answers, 10_000) })
	}
}

func healthyAmongFailing(b *testing.B, status int, answers time.Duration, failing int) {
	if status == http.StatusConflict {
		failing -= 100 // those that wait for a retry keep their places of max_ack_pending
	}
	natsURL, _ := startPeers(b)
	healthy := make(chan time.Time, 1)
	var mu sync.Mutex
	var others []time.Duration
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		switch r.Header.Get("Relay-Subject") {
		case "f.bad":
			if answers > 0 {
				<-time.After(answers/2 + rand.N(answers))
			}
			w.WriteHeader(status)
		case "f.good":
			healthy <- now
		default:
			stored, err := time.Parse(time.RFC3339Nano, r.Header.Get("Relay-Event-Time"))
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			others = append(others, now.Sub(stored))
			mu.Unlock()
		}
	}))
	b.Cleanup(receiver.Close)
	nc, err := nats.Connect(natsURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	d, err := dispatcher.New(dispatcher.Options{Conn: nc, Config: config(b, `
version: 1
streams: [{ name: F, subjects: [f.>] }, { name: O, subjects: [o.>] }]
routes:
  - { name: failing, stream: F, filter_subjects: [f.>], concurrency: 64, webhook: { url: "%[1]s" } }
  - { name: other, stream: O, filter_subjects: [o.>], webhook: { url: "%[1]s" } }
`, receiver.URL)})
	if err != nil {
		b.Fatal(err)
	}
	d.Prepare(b.Context())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	publish := func(subject string) {
		if _, err := js.PublishAsync(subject, []byte("x"), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Error(err)
		}
	}
	// p99 of what is published on the other route for a while.
	p99 := func(while <-chan time.Time, until <-chan struct{}) time.Duration {
		mu.Lock()
		others = nil
		mu.Unlock()
		for tick := time.Tick(2 * time.Millisecond); ; <-tick {
			select {
			case <-while:
			case <-until:
			default:
				publish("o.x")
				continue
			}
			break
		}
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(others)
		return others[len(others)*99/100]
	}
	alone := p99(time.After(3*time.Second), nil)
	for range failing {
		publish("f.bad")
	}
	publish("f.good")
	began := time.Now()
	through := make(chan struct{})
	var waited time.Duration
	go func() {
		waited = (<-healthy).Sub(began)
		close(through)
	}()
	beside := p99(time.After(time.Minute), through)
	select {
	case <-through:
	default:
		b.Fatal("the healthy message did not come within a minute")
	}
	b.ReportMetric(waited.Seconds(), "healthy-s")
	b.ReportMetric(float64(alone.Microseconds())/1000, "other-p99-alone-ms")
	b.ReportMetric(float64(beside.Microseconds())/1000, "other-p99-beside-ms")
	b.ReportMetric(0, "ns/op")
}

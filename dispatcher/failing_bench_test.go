package dispatcher_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/internal/testkit"
)

// BenchmarkHealthyAmongFailing tells how long the healthy message waits that comes after
// 10,000 which the receiver refuses, for good or for now, and what the messages of
// another route notice meanwhile: the 99th percentile of their latency, before the flood,
// beside it, and while a bare loop delivers the same flood in a process of its own, as
// much as the machine lets anybody notice. A receiver that answers at once leaves the
// CPUs no rest; one that takes its time, half as long again or half as long as the name
// says, leaves them free. A flood that it takes shows how much of it is not the failing.
// The figures are over all rounds, the wait their median.
func BenchmarkHealthyAmongFailing(b *testing.B) {
	const some = 50 * time.Millisecond
	for _, other := range []time.Duration{0, some} {
		for _, answers := range []time.Duration{0, some} {
			for _, status := range []int{http.StatusNoContent, http.StatusUnprocessableEntity, http.StatusConflict} {
				b.Run(fmt.Sprintf("%d-after-%s-beside-%s", status, answers, other), func(b *testing.B) {
					healthyAmongFailing(b, status, answers, other)
				})
			}
		}
	}
}

func healthyAmongFailing(b *testing.B, status int, answers, other time.Duration) {
	const failing = 10_000
	rounds := 3 // some 3,000 messages of the other route, or more
	if status == http.StatusNoContent && answers == 0 {
		rounds = 15 // they are soon through
	}
	natsURL, _ := startPeers(b)
	var floodURL, othersURL string
	flood := startPeer(b, "flood")
	flood.line(&floodURL)
	others := startPeer(b, "others", natsURL)
	others.line(&othersURL)
	othersURL = fmt.Sprintf("%s/%d/%s", othersURL, http.StatusOK, other)
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
  - { name: failing, stream: F, filter_subjects: [f.>], concurrency: 64, webhook: { url: "%s/%d/%s" } }
  - { name: other, stream: O, filter_subjects: [o.>], concurrency: 64, webhook: { url: "%s" } }
`, floodURL, status, answers, othersURL)})
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
	testkit.Eventually(b, func() bool {
		return !slices.ContainsFunc(d.Status(), func(s dispatcher.Status) bool { return s.State != dispatcher.StateRunning })
	}, "both routes running")
	publish := func(subject string) {
		if _, err := js.PublishAsync(subject, []byte("x"), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Error(err)
		}
	}
	// what the others' messages took since the last call
	took := func() []time.Duration {
		var n int
		others.ask(&n)
		all := make([]time.Duration, n)
		for i := range all {
			others.line(&all[i])
		}
		return all
	}
	bare := startPeer(b, "bare", natsURL, fmt.Sprintf("%s/%d/%s", floodURL, status, answers))
	var word string
	var alone, besideBare, beside, waited []time.Duration
	for range rounds {
		if err := d.Pause(b.Context(), "failing"); err != nil {
			b.Fatal(err)
		}
		stream, err := js.Stream(b.Context(), "F")
		if err != nil {
			b.Fatal(err)
		}
		if err := stream.Purge(b.Context()); err != nil {
			b.Fatal(err)
		}
		n := failing
		if status == http.StatusConflict {
			n -= 100 // those that wait for a retry keep their places of max_ack_pending
		}
		for range n {
			publish("f.bad")
		}
		publish("f.good")
		<-js.PublishAsyncComplete()
		took()
		<-time.After(2 * time.Second)
		alone = append(alone, took()...)
		bare.ask(&word)
		besideBare = append(besideBare, took()...)
		flood.line(&word)
		<-time.After(time.Second)
		took()
		began := time.Now()
		if err := d.Resume(b.Context(), "failing"); err != nil {
			b.Fatal(err)
		}
		flood.line(&word)
		waited = append(waited, time.Since(began))
		beside = append(beside, took()...)
	}
	slices.Sort(waited)
	b.ReportMetric(waited[rounds/2].Seconds(), "healthy-s")
	for name, all := range map[string][]time.Duration{"alone": alone, "beside-bare": besideBare, "beside": beside} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)*99/100].Seconds()*1000, "other-p99-"+name+"-ms")
	}
	b.ReportMetric(0, "ns/op")
}

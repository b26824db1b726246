package dispatcher_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"relay/dispatcher"
)

// BenchmarkLargeMessages sends 1,000 messages of 1 MiB to a slow receiver, on a route
// whose concurrency would let all of them be in hand at once, and tells the most that
// was: of messages, and of memory in this process. The NATS server is another process.
func BenchmarkLargeMessages(b *testing.B) {
	const messages, size, bound = 1000, 1<<20 - 1<<10, dispatcher.DefaultMaxInFlightBytes
	natsURL, _ := startPeers(b)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-time.After(500 * time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(slow.Close)
	connect := func() *nats.Conn {
		nc, err := nats.Connect(natsURL)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		return nc
	}
	js, err := jetstream.New(connect(), jetstream.WithPublishAsyncMaxPending(16))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "LARGE", Subjects: []string{"large"}}); err != nil {
		b.Fatal(err)
	}
	payload := bytes.Repeat([]byte("x"), size)
	for range messages {
		if _, err := js.PublishAsync("large", payload); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	reg := prometheus.NewRegistry()
	d, err := dispatcher.New(dispatcher.Options{Conn: connect(), Registerer: reg, Config: config(b, `
version: 1
routes:
  - { name: slow, stream: LARGE, filter_subjects: [large], concurrency: 1000, webhook: { url: "%s" } }
`, slow.URL)})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var inHand, heap float64
	began := time.Now()
	for tick := time.Tick(20 * time.Millisecond); d.Status()[0].Delivered < messages; <-tick {
		if time.Since(began) > 2*time.Minute {
			b.Fatalf("%d of %d delivered after two minutes", d.Status()[0].Delivered, messages)
		}
		inHand = max(inHand, metric(b, reg, "relay_in_flight_bytes"))
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, float64(m.HeapInuse))
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(inHand/(1<<20), "in-hand-MiB")
	b.ReportMetric(heap/(1<<20), "heap-MiB")
	b.ReportMetric(time.Since(began).Seconds(), "s")
	b.ReportMetric(0, "ns/op")
	if inHand > bound {
		b.Errorf("%.0f bytes in hand, the bound is %d", inHand, bound)
	}
}

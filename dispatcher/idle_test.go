package dispatcher_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"relay/dispatcher"
)

// BenchmarkThousandRoutes tells what 1,000 routes on ten streams cost while nothing
// comes: the time until all run, memory, goroutines and CPU of this process alone. The
// NATS server is another one; there is one connection to it, however many routes.
func BenchmarkThousandRoutes(b *testing.B) {
	const routeCount, streams = 1000, 10
	natsURL, hookURL := startPeers(b)
	var yaml strings.Builder
	yaml.WriteString("version: 1\nstreams:\n")
	for s := range streams {
		fmt.Fprintf(&yaml, "  - { name: S%[1]d, subjects: [s%[1]d.>] }\n", s)
	}
	fmt.Fprintf(&yaml, "routes:\n  - { name: r, stream: S0, filter_subjects: [s0.r], webhook: { url: %q } }\n", hookURL)
	c := config(b, "%s", yaml.String())
	like := c.Routes[0]
	c.Routes = nil
	for n := range routeCount {
		r := like
		r.Name = fmt.Sprint("r", n)
		r.Consumer.Durable = "relay-" + r.Name
		r.Stream, r.FilterSubjects = fmt.Sprint("S", n%streams), []string{fmt.Sprintf("s%d.%s", n%streams, r.Name)}
		c.Routes = append(c.Routes, r)
	}
	nc, err := nats.Connect(natsURL)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	b.ResetTimer()
	began := time.Now()
	d, err := dispatcher.New(dispatcher.Options{Conn: nc, Config: c})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	d.Prepare(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for running := 0; running < routeCount; {
		<-time.After(20 * time.Millisecond)
		running = 0
		for _, s := range d.Status() {
			if s.State == dispatcher.StateRunning {
				running++
			}
		}
		if time.Since(began) > 2*time.Minute {
			b.Fatalf("%d of %d routes run", running, routeCount)
		}
	}
	b.ReportMetric(time.Since(began).Seconds(), "start-s")

	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapInuse+m.StackInuse)/(1<<20), "MiB")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	cpu, idle := cpuTime(b), 20*time.Second // a whole round of reading the figures
	<-time.After(idle)
	b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/idle.Seconds(), "cpu-%")
	b.ReportMetric(0, "ns/op")
	began = time.Now()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "stop-s")
}

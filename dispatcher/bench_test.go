package dispatcher_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/routes"
)

const (
	benchInFlight = 64
	benchBytes    = 1 << 10
	benchMessages = 30_000
	benchRounds   = 5
)

// BenchmarkHotPath compares relay's whole path (pull, sign, POST, classify, metrics, a
// line of log, ack) with a bare loop (Consume, net/http POST, Ack) of the same
// concurrency, in turn, in one run, against one NATS server and one receiver in a
// process of their own. The fair loop is the bare one with as many headers as relay
// sends. The CPU time is that of the delivering process alone; all figures are medians
// of the rounds, for the machine may have other things to do.
func BenchmarkHotPath(b *testing.B) {
	natsURL, hookURL := startPeers(b)
	var relay, bare, fair costs
	b.ResetTimer()
	for range benchRounds {
		bare = append(bare, bareLoop(b, natsURL, hookURL, nil))
		fair = append(fair, bareLoop(b, natsURL, hookURL, benchHeaders()))
		relay = append(relay, relayLoop(b, natsURL, hookURL))
	}
	b.ReportMetric(bare.rate(), "bare-msg/s")
	b.ReportMetric(fair.rate(), "fair-msg/s")
	b.ReportMetric(relay.rate(), "relay-msg/s")
	b.ReportMetric(relay.rate()/bare.rate(), "rate-ratio")
	b.ReportMetric(relay.rate()/fair.rate(), "fair-rate-ratio")
	b.ReportMetric(bare.cpuPer(), "bare-cpu-µs/msg")
	b.ReportMetric(fair.cpuPer(), "fair-cpu-µs/msg")
	b.ReportMetric(relay.cpuPer(), "relay-cpu-µs/msg")
	b.ReportMetric(relay.cpuPer()/bare.cpuPer(), "cpu-ratio")
	b.ReportMetric(relay.cpuPer()/fair.cpuPer(), "fair-cpu-ratio")
	b.ReportMetric(0, "ns/op") // it says nothing here
}

// cost is what a number of messages took.
type cost struct {
	messages  int
	wall, cpu time.Duration
}

func (c cost) rate() float64   { return float64(c.messages) / c.wall.Seconds() }
func (c cost) cpuPer() float64 { return float64(c.cpu.Microseconds()) / float64(c.messages) }

// costs are those of several rounds; their figures are medians.
type costs []cost

func (c costs) rate() float64   { return c.median(cost.rate) }
func (c costs) cpuPer() float64 { return c.median(cost.cpuPer) }

func (c costs) median(figure func(cost) float64) float64 {
	var all []float64
	for _, one := range c {
		all = append(all, figure(one))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// benchHeaders are of the number and length of those that relay sends.
func benchHeaders() http.Header {
	return http.Header{
		"User-Agent":            {"relay/dev"},
		"Accept-Encoding":       {"identity"},
		"Webhook-Id":            {"msg_abcdefghijklmnopqrstuvwxyz"},
		"Webhook-Timestamp":     {"1614265330"},
		"Webhook-Signature":     {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
		"Relay-Route":           {"bench"},
		"Relay-Attempt":         {"1"},
		"Relay-Subject":         {"bench.one"},
		"Relay-Stream":          {"BENCH"},
		"Relay-Stream-Sequence": {"10000"},
		"Relay-Event-Time":      {"2026-01-02T03:04:05.123456789Z"},
	}
}

// bareLoop is what a person would write without relay.
func bareLoop(b *testing.B, natsURL, hookURL string, header http.Header) cost {
	js := benchStream(b, natsURL)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cons, err := js.CreateConsumer(ctx, "BENCH", jetstream.ConsumerConfig{
		Durable: "bare", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	})
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: benchInFlight}}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	messages := make(chan jetstream.Msg)
	return measure(b, js, "bare", func() (stop func()) {
		for range benchInFlight {
			workers.Go(func() {
				for m := range messages {
					req, _ := http.NewRequestWithContext(ctx, http.MethodPost, hookURL, bytes.NewReader(m.Data()))
					req.Header.Set("Content-Type", "application/octet-stream")
					maps.Copy(req.Header, header)
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						continue
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					_ = m.Ack()
				}
			})
		}
		consume, err := cons.Consume(func(m jetstream.Msg) { messages <- m }, jetstream.PullMaxMessages(2*benchInFlight))
		if err != nil {
			b.Fatal(err)
		}
		return func() {
			consume.Stop()
			<-consume.Closed()
			close(messages)
			workers.Wait()
		}
	})
}

func relayLoop(b *testing.B, natsURL, hookURL string) cost {
	js := benchStream(b, natsURL)
	c, err := routes.Parse("routes.yaml", fmt.Appendf(nil, `
version: 1
routes:
  - name: bench
    stream: BENCH
    filter_subjects: [bench.one]
    concurrency: %d
    webhook:
      url: %q
      signing: { secrets: [{ env: BENCH_WHSEC }] }
`, benchInFlight, hookURL), routes.Options{})
	if err != nil {
		b.Fatal(err)
	}
	nc, err := nats.Connect(natsURL)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	devNull, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer devNull.Close()
	d, err := dispatcher.New(dispatcher.Options{
		Conn: nc, Config: c, Logger: slog.New(slog.NewTextHandler(devNull, nil)),
		LookupEnv: func(string) (string, bool) { return "whsec_" + strings.Repeat("MDEy", 11), true },
	})
	if err != nil {
		b.Fatal(err)
	}
	d.Prepare(context.Background()) // streams are made once, not a message
	return measure(b, js, "relay-bench", func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
	})
}

// benchStream fills a stream with the messages of one round.
func benchStream(b *testing.B, natsURL string) jetstream.JetStream {
	b.Helper()
	nc, err := nats.Connect(natsURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	_ = js.DeleteStream(context.Background(), "BENCH")
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "BENCH", Subjects: []string{"bench.>"}, Storage: jetstream.MemoryStorage,
	}); err != nil {
		b.Fatal(err)
	}
	payload := bytes.Repeat([]byte("x"), benchBytes)
	for range benchMessages {
		if _, err := js.PublishAsync("bench.one", payload, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return js
}

// measure runs a loop until its consumer has settled every message.
func measure(b *testing.B, js jetstream.JetStream, consumer string, start func() (stop func())) cost {
	b.Helper()
	runtime.GC()
	cpu, began := cpuTime(b), time.Now()
	stop := start()
	defer stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		c, err := js.Consumer(context.Background(), "BENCH", consumer)
		if err == nil && c.CachedInfo().AckFloor.Stream == benchMessages {
			return cost{benchMessages, time.Since(began), cpuTime(b) - cpu}
		}
		if time.Since(began) > 2*time.Minute {
			b.Fatalf("consumer %s is not done after two minutes", consumer)
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

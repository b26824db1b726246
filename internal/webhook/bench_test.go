package webhook_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"relay/internal/webhook"
)

const inFlight = 64

// BenchmarkSend compares Send with a bare net/http POST of the same body to the same
// receiver, in turns of the same run: rate_ratio is Send's rate by the bare one's (more
// is better), cpu_ratio the processor time of both sides of the connection (less is
// better).
func BenchmarkSend(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer srv.Close()
	body := append(append([]byte(`{"a":"`), bytes.Repeat([]byte("a"), 1016)...), `"}`...)

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	defer client.CloseIdleConnections()
	bare := func() bool {
		resp, err := client.Post(srv.URL, "application/json", bytes.NewReader(body))
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}

	r := route(srv.URL)
	r.Concurrency = inFlight
	s, err := webhook.New(r, webhook.Options{LookupEnv: environment})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ours := func() bool {
		m := message()
		m.Body = body
		return s.Send(context.Background(), m).Status == http.StatusOK
	}

	var bareCost, ourCost cost
	b.ReportAllocs()
	const turn = 2000
	for done := 0; done < b.N; done += turn {
		n := min(turn, b.N-done)
		bareCost.add(measure(b, n, bare))
		ourCost.add(measure(b, n, ours))
	}
	b.ReportMetric(float64(b.N)/ourCost.wall.Seconds(), "msg/s")
	b.ReportMetric(float64(ourCost.cpu.Microseconds())/float64(b.N), "cpu-µs/msg")
	b.ReportMetric(float64(ourCost.allocs)/float64(b.N), "allocs/msg")
	b.ReportMetric(float64(bareCost.allocs)/float64(b.N), "bare-allocs/msg")
	b.ReportMetric(bareCost.wall.Seconds()/ourCost.wall.Seconds(), "rate_ratio")
	b.ReportMetric(ourCost.cpu.Seconds()/bareCost.cpu.Seconds(), "cpu_ratio")
}

// cost is what a number of messages took.
type cost struct {
	wall, cpu time.Duration
	allocs    uint64
}

func (c *cost) add(d cost) {
	c.wall += d.wall
	c.cpu += d.cpu
	c.allocs += d.allocs
}

// measure runs post n times, inFlight at once.
func measure(b *testing.B, n int, post func() bool) cost {
	var (
		next          atomic.Int64
		wg            sync.WaitGroup
		before, after runtime.MemStats
	)
	runtime.ReadMemStats(&before)
	cpu, start := processorTime(), time.Now()
	for range inFlight {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if !post() {
					b.Error("not delivered")
				}
			}
		})
	}
	wg.Wait()
	c := cost{wall: time.Since(start), cpu: processorTime() - cpu}
	runtime.ReadMemStats(&after)
	c.allocs = after.Mallocs - before.Mallocs
	return c
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"relay/internal/fleet"
	"relay/internal/testkit"
)

// process is a relay process as far as the fleet is concerned: metrics and a connection.
func process(t *testing.T, url, name string, fast, slow, failed int) *fleet.Fleet {
	t.Helper()
	reg := prometheus.NewRegistry()
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "relay_attempts_total", Help: "."}, []string{"route", "status"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "relay_attempt_duration_seconds", Help: ".", Buckets: []float64{.1, 1, 10}}, []string{"route"})
	inFlight := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "relay_in_flight", Help: "."}, []string{"route"})
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "relay_breaker_open", Help: "."}, []string{"route"})
	reg.MustRegister(attempts, duration, inFlight, open)
	attempts.WithLabelValues("orders", "2xx").Add(float64(fast + slow))
	attempts.WithLabelValues("orders", "timeout_headers").Add(float64(failed))
	inFlight.WithLabelValues("orders").Set(3)
	open.WithLabelValues("orders").Set(1)
	open.WithLabelValues("idle").Set(0)
	inFlight.WithLabelValues("first").Set(5) // whose first attempt goes on
	for range fast {
		duration.WithLabelValues("orders").Observe(0.05)
	}
	for range slow + failed {
		duration.WithLabelValues("orders").Observe(5)
	}
	return run(t, url, fleet.Options{Gatherer: reg, Instance: name, Version: "v1.2.3-4-gabcdef"})
}

// run runs a process until the test ends.
func run(t *testing.T, url string, o fleet.Options) *fleet.Fleet {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	o.Conn = conn
	f := fleet.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestProcessesAddUp(t *testing.T) {
	url := testkit.NATS(t).URL
	one := process(t, url, "one", 90, 0, 0)
	two := process(t, url, "two", 0, 20, 10)
	for _, f := range []*fleet.Fleet{one, two} {
		testkit.Eventually(t, func() bool { return len(f.Processes()) == 2 && f.Figures()["orders"].Attempts == 120 }, "both tell all")
		all := f.Figures()
		got, idle := all["orders"], all["idle"]
		if got.Attempts != 120 || got.Rate != 2 || got.InFlight != 6 || got.BreakersOpen != 2 {
			t.Errorf("%+v", got)
		}
		if want := 110.0 / 120; got.Success != want {
			t.Errorf("success: got %v, want %v", got.Success, want)
		}
		if got.P50 <= 0 || got.P50 > 100*time.Millisecond || got.P95 <= time.Second || got.P95 > 10*time.Second {
			t.Errorf("p50 %s, p95 %s", got.P50, got.P95)
		}
		if got.Classes[2] != 110 || got.Classes[fleet.NoAnswer] != 10 {
			t.Errorf("classes: %v", got.Classes)
		}
		var delivered, failed uint64
		for _, m := range got.Hour {
			delivered, failed = delivered+m.Delivered, failed+m.Failed
		}
		if delivered != 110 || failed != 10 {
			t.Errorf("the hour has %d and %d", delivered, failed)
		}
		if n := all["first"].InFlight; n != 10 {
			t.Errorf("in flight before the first attempt ended: got %d, want 10", n)
		}
		if idle.Attempts != 0 || idle.Rate != 0 {
			t.Errorf("an idle route: %+v", idle)
		}
	}
	if got := one.Processes(); got[0].Instance != "one" || got[1].Instance != "two" || got[1].Version != "v1.2.3-4-gabcdef" || got[1].Since.IsZero() {
		t.Errorf("%+v", got)
	}
}

// TestRubbish: whoever may publish on the account cannot break the figures.
func TestRubbish(t *testing.T) {
	server := testkit.NATS(t)
	one := process(t, server.URL, "one", 1, 0, 0)
	conn, err := nats.Connect(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	service, err := micro.AddService(conn, micro.Config{Name: "other", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 100)
	err = service.AddEndpoint("figures", micro.HandlerFunc(func(r micro.Request) {
		for _, data := range []string{"", "rubbish", "\x1f\x8b", `{"id":"x"}`} {
			_ = r.Respond([]byte(data))
		}
		asked <- struct{}{}
	}), micro.WithEndpointSubject("relay.fleet.figures"))
	if err != nil {
		t.Fatal(err)
	}
	one.Processes()
	<-asked
	<-asked // what came first has been read
	if got := one.Processes(); len(got) != 1 || one.Figures()["orders"].Attempts != 1 {
		t.Errorf("%+v", got)
	}
}

// TestFresh: what this process has before it is told as it stands, not as last sampled.
// Nothing samples here.
func TestFresh(t *testing.T) {
	reg := prometheus.NewRegistry()
	lag := prometheus.NewGauge(prometheus.GaugeOpts{Name: "relay_projection_lag", Help: "."})
	inFlight := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "relay_in_flight", Help: "."}, []string{"route"})
	reg.MustRegister(lag, inFlight)
	f := fleet.New(fleet.Options{Gatherer: reg})
	for _, n := range []int{7, 0, 12} {
		lag.Set(float64(n))
		inFlight.WithLabelValues("orders").Set(float64(n))
		testkit.Eventually(t, func() bool { return f.Lag() == n && f.Figures()["orders"].InFlight == n }, "a lag of %d", n)
	}
}

// memory is what a process remembers of its attempts: each second one of route "orders".
type memory struct {
	from time.Time
	n    int
}

func (m memory) Attempts(route string) []fleet.Attempt {
	if route != "orders" {
		return nil
	}
	list := make([]fleet.Attempt, m.n)
	for i := range list {
		list[i] = fleet.Attempt{At: m.from.Add(-time.Duration(i) * time.Second), Subject: "orders.created", Number: 1, Status: 503}
	}
	return list
}

func (m memory) Failures() map[string]fleet.Failure {
	return map[string]fleet.Failure{"orders": {Error: "at " + m.from.Format(time.TimeOnly), At: m.from}}
}

// TestAttemptsOfAll: the last ones of all processes, the newest first, whoever is asked.
func TestAttemptsOfAll(t *testing.T) {
	url := testkit.NATS(t).URL
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	all := []*fleet.Fleet{
		run(t, url, fleet.Options{Gatherer: prometheus.NewRegistry(), Instance: "early", Local: memory{noon.Add(-10 * time.Second), 60}}),
		run(t, url, fleet.Options{Gatherer: prometheus.NewRegistry(), Instance: "late", Local: memory{noon, 30}}),
		run(t, url, fleet.Options{Gatherer: prometheus.NewRegistry(), Instance: "idle"}),
	}
	for _, f := range all {
		testkit.Eventually(t, func() bool { return len(f.Processes()) == 3 }, "all three")
		var list []fleet.Attempt
		testkit.Eventually(t, func() (heard bool) { // on a busy machine an answer may come too late
			var silent int
			list, silent = f.Attempts(t.Context(), "orders")
			return silent == 0
		}, "no process to be silent")
		of := map[string]int{}
		for i, a := range list {
			of[a.Instance]++
			if i > 0 && a.At.After(list[i-1].At) {
				t.Fatalf("attempt %d is newer than the one before it", i)
			}
		}
		if len(list) != 50 || of["late"] != 30 || of["early"] != 20 {
			t.Errorf("%d attempts: %v", len(list), of)
		}
		testkit.Eventually(t, func() bool { return f.Figures()["orders"].LastFailure.Error == "at 12:00:00" }, "the last failure")
		if list, silent := f.Attempts(t.Context(), "nobody"); len(list) != 0 || silent != 0 {
			t.Errorf("a route that there is not: %d attempts, %d silent", len(list), silent)
		}
	}
}

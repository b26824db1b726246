package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary play the roles that the suite starts itself as.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == asRole {
		if err := role(os.Args[2], os.Args[3]); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testSuite(t *testing.T) *suite {
	t.Helper()
	size := shortSizes()
	size.smallBytes, size.window, size.latency = 1<<20, 200*time.Millisecond, 200*time.Millisecond
	s, err := newSuite(size, "", &bytes.Buffer{}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Every contestant delivers every message once.
func TestContestantsDeliverAll(t *testing.T) {
	const messages, routes = 300, 3
	s := testSuite(t)
	if err := s.newStream(t.Context(), messages, 1<<10, routes); err != nil {
		t.Fatal(err)
	}
	for _, name := range contestants() {
		t.Run(name, func(t *testing.T) {
			p, err := s.deliver(t.Context(), job{Contestant: name, Routes: routes, InFlight: 4})
			if err != nil {
				t.Fatal(err)
			}
			counted := s.receiver
			if name == consumeAck {
				counted = p
			}
			var got int64
			if err := must(t.Context(), "all messages come", func() (bool, error) {
				got, err = counted.number("count")
				return got >= messages, err
			}); err != nil {
				t.Error(err)
			}
			if err := p.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			if got, err = s.receiver.number("count"); err != nil || (name != consumeAck && got != messages) {
				t.Errorf("the receiver got %d requests (%v), want %d", got, err, messages)
			}
		})
	}
}

// A window leaves to either side of it what a contestant may have in its memory.
func TestWindowIsWithinTheStream(t *testing.T) {
	s := testSuite(t)
	s.size.window = patience // until the stream comes to its end
	c := cell{bytes: 1 << 10, routes: 3, inFlight: 4}
	if err := s.newStream(t.Context(), s.messages(c), c.bytes, c.routes); err != nil {
		t.Fatal(err)
	}
	one, err := s.measure(t.Context(), c, job{Contestant: bareHTTP})
	if err != nil {
		t.Fatal(err)
	}
	if one.rate <= 0 || one.cpuUs <= 0 || one.othersUs <= 0 || one.peak <= 0 {
		t.Errorf("measured %+v, want all of it above 0", one)
	}
	if got, err := s.receiver.number("count"); err != nil || got < int64(s.messages(c)-c.prefetched()) {
		t.Errorf("%d messages came (%v), want all but the last %d of %d", got, err, c.prefetched(), s.messages(c))
	}
}

// A message that was sent late counts as late, however fast it came from there.
func TestLatenessCountsFromWhenAMessageWasDue(t *testing.T) {
	s := testSuite(t)
	c := latencyCell()
	err := s.live(t.Context(), c, bareHTTP, func() error {
		for range 10 {
			if _, err := s.js.Publish(t.Context(), "bench.0", body(c.bytes, time.Now().Add(-time.Hour))); err != nil {
				return err
			}
		}
		return s.received(t.Context(), 10)
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.receiver.ask("late")
	if err != nil {
		t.Fatal(err)
	}
	var late lateness
	if err := json.Unmarshal([]byte(answer), &late); err != nil {
		t.Fatal(err)
	}
	if late.P50 < time.Hour || late.Last > 2*time.Hour {
		t.Errorf("messages due an hour ago came %+v late", late)
	}
}

func TestSummary(t *testing.T) {
	var late []time.Duration
	for i := range 1000 {
		late = append(late, time.Duration(1000-i))
	}
	if got, want := summary(late), (lateness{500, 990, 999, 1000}); got != want {
		t.Errorf("summary of 1 to 1000: %+v, want %+v", got, want)
	}
	if got := summary(nil); got != (lateness{}) {
		t.Errorf("summary of nothing: %+v", got)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		of     []float64
		digits int
		want   string
	}{
		{[]float64{3}, 1, "3.0"},
		{[]float64{9, 1, 2}, 0, "2 (1–9)"},
		{[]float64{4, 1, 2, 3}, 1, "2.5 (1.0–4.0)"},
	} {
		if got := spread(c.of, c.digits); got != c.want {
			t.Errorf("spread(%v): %q, want %q", c.of, got, c.want)
		}
	}
}

func TestExponent(t *testing.T) {
	sizes := []float64{1, 2, 4, 8}
	for _, c := range []struct {
		costs []float64
		want  float64
	}{
		{[]float64{3, 3, 3, 3}, 0}, {[]float64{3, 6, 12, 24}, 1}, {[]float64{3, 12, 48, 192}, 2},
	} {
		if got := exponent(sizes, c.costs); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("exponent of %v: %v, want %v", c.costs, got, c.want)
		}
	}
}

func TestParseBench(t *testing.T) {
	lines := parseBench("goos: linux\nBenchmarkMillion/list/rare_route-2 \t 20\t 5.5 p95-ms\t 12 ns/op\nPASS\n")
	if len(lines) != 1 || lines[0].part(1) != "list" || lines[0].part(2) != "rare route" ||
		lines[0].figure("p95-ms") != "5.5" || lines[0].figure("B/op") != "–" {
		t.Errorf("parsed %+v", lines)
	}
}

func TestConductNamesAnUnknownSection(t *testing.T) {
	err := conduct(context.Background(), []string{"-only", "latency,speed"}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("got %v", err)
	}
}

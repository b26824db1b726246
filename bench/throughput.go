package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// cell is one setting in which all contestants race.
type cell struct {
	bytes, routes, inFlight int // in flight on each route
}

func (c cell) String() string {
	routes := "one route"
	if c.routes > 1 {
		routes = fmt.Sprintf("%d routes", c.routes)
	}
	each := ""
	if c.routes > 1 {
		each = " each"
	}
	return fmt.Sprintf("%s, %s, %d in flight%s", kib(c.bytes), routes, c.inFlight, each)
}

func kib(n int) string { return strconv.Itoa(n>>10) + " KiB" }

// prefetched is how many messages the client's Consume holds in memory by default, of
// all routes.
func (c cell) prefetched() int { return 500 * c.routes }

// inFlightMiB is how much the messages in flight hold.
func (c cell) inFlightMiB() float64 { return float64(c.bytes*c.routes*c.inFlight) / (1 << 20) }

// sample is what one contestant did in one round.
type sample struct {
	rate     float64 // messages a second
	cpuUs    float64 // of the delivering process, microseconds a message
	othersUs float64 // of the server and the receiver together
	peak     float64 // MiB resident, the most since the process began
}

// samples are the rounds of one contestant.
type samples []sample

func (s samples) of(figure func(sample) float64) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = figure(s[i])
	}
	return out
}

func rateOf(s sample) float64   { return s.rate }
func cpuOf(s sample) float64    { return s.cpuUs }
func othersOf(s sample) float64 { return s.othersUs }
func peakOf(s sample) float64   { return s.peak }

// ratio of a figure to another contestant's of the same round.
func (s samples) ratio(other samples, figure func(sample) float64) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = figure(s[i]) / figure(other[i])
	}
	return out
}

// cells are the settings of the race. Large messages on 100 routes are not among them:
// the client's Consume asks for 500 messages a route, 3 GiB then, and the server cuts it
// off as a slow consumer.
func cells() []cell {
	return []cell{
		{1 << 10, 1, 1}, {1 << 10, 1, 64}, {1 << 10, 1, 256}, {1 << 10, 100, 1},
		{64 << 10, 1, 1}, {64 << 10, 1, 64}, {64 << 10, 1, 256},
	}
}

// throughput races all contestants through a full stream, in every cell.
func throughput(ctx context.Context, s *suite) error {
	s.report.title("Throughput")
	s.report.paragraph("Median (least–most) of %d rounds of %s after a run-up. CPU and memory are those of the delivering process "+
		"alone, the others' CPU is that of the NATS server and the receiver; all of them share the CPUs. \"relay ÷\" is relay's figure by this one's, of the same round.", s.size.rounds, s.size.window)
	goals := table{head: []string{
		"goals of relay", "rate ÷ bare loop, at least 0.9", "CPU ÷ bare loop, at most 1.2",
		"rate ÷ Watermill, at least 2.5", "CPU ÷ Watermill, at most 0.5", "MiB, at most 3 × those in flight + 60",
	}}
	filled := cell{}
	for _, c := range cells() {
		if c.bytes != filled.bytes || c.routes != filled.routes {
			if err := s.newStream(ctx, s.messages(c), c.bytes, c.routes); err != nil {
				return err
			}
			filled = c
		}
		got, err := s.race(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		goals.rows = append(goals.rows, goalsOf(c, got))
	}
	s.report.table(goals)
	return nil
}

// messages of a cell are as many as a window needs at most, within bounds of memory,
// and what is in a contestant's memory before the window and after it.
func (s *suite) messages(c cell) int {
	return min(s.size.smallBytes/1024, 8*s.size.smallBytes/c.bytes) + 2*c.prefetched()
}

// race lets all contestants take turns in one cell, and returns their rounds in the
// contestants' order.
func (s *suite) race(ctx context.Context, c cell) ([]samples, error) {
	names := contestants()
	got := make([]samples, len(names))
	for round := range s.size.rounds {
		for k := range names {
			n := (k + round) % len(names) // each is first once
			one, err := s.measure(ctx, c, job{Contestant: names[n]})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", names[n], err)
			}
			got[n] = append(got[n], one)
		}
	}
	t := table{head: []string{c.String(), "messages/s", "CPU µs/message", "others' CPU µs", "peak MiB", "relay ÷, rate", "relay ÷, CPU"}}
	for n, name := range names {
		t.row(name, spread(got[n].of(rateOf), 0), spread(got[n].of(cpuOf), 1), spread(got[n].of(othersOf), 1), spread(got[n].of(peakOf), 0),
			fmt.Sprintf("%.2f", median(got[0].ratio(got[n], rateOf))), fmt.Sprintf("%.2f", median(got[0].ratio(got[n], cpuOf))))
	}
	s.report.table(t)
	return got, nil
}

// goalsOf holds a cell against what relay set out to reach: a row of the table of goals.
func goalsOf(c cell, got []samples) []string {
	row := []string{c.String()}
	relay := got[0]
	for n, name := range contestants() {
		rate, cpu := median(relay.ratio(got[n], rateOf)), median(relay.ratio(got[n], cpuOf))
		switch name {
		case bareHTTP:
			row = append(row, verdict(fmt.Sprintf("%.2f", rate), rate >= 0.9), verdict(fmt.Sprintf("%.2f", cpu), cpu <= 1.2))
		case watermillDocs:
			row = append(row, verdict(fmt.Sprintf("%.2f", rate), rate >= 2.5), verdict(fmt.Sprintf("%.2f", cpu), cpu <= 0.5))
		}
	}
	peak, most := slices.Max(relay.of(peakOf)), 3*c.inFlightMiB()+60
	return append(row, verdict(fmt.Sprintf("%.0f of %.0f", peak, most), peak <= most))
}

// measure runs one contestant through the stream as it stands: a run-up, then the
// window, or less when the stream comes to its end.
func (s *suite) measure(ctx context.Context, c cell, j job) (sample, error) {
	j.Routes, j.InFlight = c.routes, c.inFlight
	p, err := s.deliver(ctx, j)
	if err != nil {
		return sample{}, err
	}
	one, err := s.window(ctx, p, j, c)
	if stopped := p.stop(); err == nil {
		err = stopped
	}
	return one, err
}

// window leaves out as many messages at either end of the stream as a contestant may
// hold in its memory. Before them it would deliver what the server sent before the
// window, and after them what the server is done with: half of a message's way.
func (s *suite) window(ctx context.Context, p *process, j job, c cell) (sample, error) {
	counted := s.receiver
	if j.Contestant == consumeAck {
		counted = p
	}
	var n int
	reached := func(most int) func() (bool, error) {
		return func() (bool, error) {
			got, err := counted.number("count")
			n = int(got)
			return n >= most, err
		}
	}
	all := s.messages(c)
	if err := must(ctx, "the first messages come", reached(max(c.prefetched(), min(all/20, 1000)))); err != nil {
		return sample{}, err
	}
	before, err := usages(p, s.nats, s.receiver)
	if err != nil {
		return sample{}, err
	}
	first, began := n, time.Now()
	if _, err := until(ctx, s.size.window, reached(all-c.prefetched())); err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	after, err := usages(p, s.nats, s.receiver)
	if err != nil {
		return sample{}, err
	}
	done := float64(n - first)
	us := func(of int) float64 { return float64((after[of].cpu - before[of].cpu).Microseconds()) / done }
	return sample{done / took.Seconds(), us(0), us(1) + us(2), after[0].peakMiB}, nil
}

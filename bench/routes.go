package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// standing is what a number of routes costs while nothing comes.
type standing struct {
	start, stop float64 // seconds; the start with that of the process
	startCPU    float64 // seconds, of relay
	serverCPU   float64 // seconds, of the NATS server during the start
	rsMiB       float64
	goroutines  float64
	cpuPercent  float64 // of one CPU
}

// manyRoutes starts relay with ever more routes and lets it idle.
func manyRoutes(ctx context.Context, s *suite) error {
	s.report.title("Routes")
	s.report.paragraph("Signed routes, 16 in flight each, on one stream in which nothing comes: median (least–most) of %d rounds. "+
		"The start is from the process's own to the moment that every route runs; CPU is of one CPU, over a whole round of reading the consumers' figures.",
		s.size.routeRounds)
	t := table{head: []string{"routes", "start, s", "stop, s", "resident, MiB", "goroutines", "idle CPU, %"}}
	for _, n := range s.size.routes {
		var got []standing
		for range s.size.routeRounds {
			one, err := s.stand(ctx, n, max(4*time.Second, time.Duration(n)*20*time.Millisecond))
			if err != nil {
				return fmt.Errorf("%d routes: %w", n, err)
			}
			got = append(got, one)
		}
		column := func(figure func(standing) float64, digits int) string {
			var v []float64
			for _, one := range got {
				v = append(v, figure(one))
			}
			return spread(v, digits)
		}
		t.row(fmt.Sprint(n),
			column(func(o standing) float64 { return o.start }, 2), column(func(o standing) float64 { return o.stop }, 2),
			column(func(o standing) float64 { return o.rsMiB }, 0), column(func(o standing) float64 { return o.goroutines }, 0),
			column(func(o standing) float64 { return o.cpuPercent }, 1))
	}
	s.report.table(t)
	return nil
}

// stand starts n routes, lets them idle and stops them.
func (s *suite) stand(ctx context.Context, n int, idle time.Duration) (one standing, err error) {
	if err := s.newStream(ctx, 0, 0, n); err != nil { // with it go the consumers of before
		return one, err
	}
	if err := s.deleteConsumers(ctx, replayStream); err != nil {
		return one, err
	}
	before, err := s.nats.usage()
	if err != nil {
		return one, err
	}
	began := time.Now()
	p, err := s.deliver(ctx, job{Contestant: relayItself, Routes: n, InFlight: 16})
	if err != nil {
		return one, err
	}
	one.start = time.Since(began).Seconds()
	own, ownErr := p.usage()
	after, err := s.nats.usage()
	one.startCPU, one.serverCPU = own.cpu.Seconds(), (after.cpu - before.cpu).Seconds()
	err = errors.Join(ownErr, err, one.idle(ctx, p, idle))
	began = time.Now()
	err = errors.Join(err, p.stop())
	one.stop = time.Since(began).Seconds()
	return one, err
}

func (o *standing) idle(ctx context.Context, p *process, idle time.Duration) error {
	before, err := p.usage()
	if err != nil {
		return err
	}
	if _, err := until(ctx, idle, func() (bool, error) { return false, nil }); err != nil {
		return err
	}
	after, err := p.usage()
	if err != nil {
		return err
	}
	goroutines, err := p.number("goroutines")
	if err != nil {
		return err
	}
	o.rsMiB, o.goroutines = after.rsMiB, float64(goroutines)
	o.cpuPercent = 100 * (after.cpu - before.cpu).Seconds() / max(idle.Seconds(), 1)
	return nil
}

// reload tells how one route's messages come while another is changed: a benchmark of
// the dispatcher.
func reload(ctx context.Context, s *suite) error {
	lines, err := goBench(ctx, "./dispatcher", "Reload", "1x")
	if err != nil {
		return err
	}
	s.report.title("Reload")
	s.report.paragraph("1,000 messages a second on one route while another one is changed ten times a second, from when each was due to its receipt:")
	t := table{head: []string{"", "nothing changes, µs", "ten reloads a second, µs", "ratio"}}
	for _, l := range lines {
		for _, at := range []string{"p99", "last"} {
			t.row(at, l.figure("calm-"+at+"-µs"), l.figure("reload-"+at+"-µs"), l.figure(at+"-ratio"))
		}
	}
	s.report.table(t)
	return nil
}

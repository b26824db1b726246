package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// latencyCell is where latency is measured: relay's default is 16 in flight, but the
// peak has to be that of the machine.
func latencyCell() cell { return cell{bytes: 1 << 10, routes: 1, inFlight: 64} }

// latency sends messages at fixed moments, whatever comes of those before, and measures
// from the moment that each was due to its receipt. A publisher that waits for its turn
// is late, and that counts: no omission is coordinated.
func latency(ctx context.Context, s *suite) error {
	c := latencyCell()
	names := []string{bareHTTP, relayItself}
	s.report.title("Latency")
	peak, err := s.commonPeak(ctx, c, names)
	if err != nil {
		return err
	}
	s.report.paragraph("From the moment that a message was due to be published to its receipt (publish, store, pull, POST), in "+
		"milliseconds: %s, open loop, %d rounds of %s, median (least–most). The load is a share of %.0f messages/s, what the "+
		"slower of the two reached while a publisher ran beside it.", c, s.size.rounds, s.size.latency, peak)
	var goal string
	t := table{head: []string{"load", "", "p50", "p99", "p99.9", "latest"}}
	for _, share := range []float64{0.1, 0.5, 0.8} {
		late := map[string][]lateness{}
		for round := range s.size.rounds {
			for k := range names {
				name := names[(k+round)%len(names)]
				one, err := s.atLoad(ctx, c, name, peak*share)
				if err != nil {
					return fmt.Errorf("%s at %.0f %% of the peak: %w", name, 100*share, err)
				}
				late[name] = append(late[name], one)
			}
		}
		load := fmt.Sprintf("%.0f %%, %.0f/s", 100*share, peak*share)
		for _, name := range names {
			t.row(load, name, millis(late[name], p50), millis(late[name], p99), millis(late[name], p999), millis(late[name], latest))
			load = ""
		}
		if share == 0.5 {
			var added []float64
			for i := range late[relayItself] {
				added = append(added, float64(p99(late[relayItself][i])-p99(late[bareHTTP][i]))/1e6)
			}
			goal = verdict(spread(added, 2)+" ms", median(added) < 1)
		}
	}
	s.report.table(t)
	s.report.paragraph("p99 added over the bare loop at half load, of which the goal is under 1 ms: %s.", goal)
	return nil
}

func p50(l lateness) time.Duration    { return l.P50 }
func p99(l lateness) time.Duration    { return l.P99 }
func p999(l lateness) time.Duration   { return l.P999 }
func latest(l lateness) time.Duration { return l.Last }

func millis(rounds []lateness, figure func(lateness) time.Duration) string {
	var v []float64
	for _, l := range rounds {
		v = append(v, float64(figure(l))/1e6)
	}
	return spread(v, 2)
}

// commonPeak is the rate that both keep up with while a publisher feeds them.
func (s *suite) commonPeak(ctx context.Context, c cell, names []string) (peak float64, err error) {
	for _, name := range names {
		var rates []float64
		for range s.size.rounds {
			rate, err := s.fed(ctx, c, name)
			if err != nil {
				return 0, fmt.Errorf("the peak of %s: %w", name, err)
			}
			rates = append(rates, rate)
		}
		if rate := median(rates); peak == 0 || rate < peak {
			peak = rate
		}
	}
	return peak, nil
}

// fed is the rate of a contestant whose publisher stays some hundred messages ahead.
func (s *suite) fed(ctx context.Context, c cell, name string) (rate float64, err error) {
	err = s.live(ctx, c, name, func() error {
		const ahead = 512
		payload := body(c.bytes, time.Time{})
		began, published := time.Now(), int64(0)
		var received int64
		for time.Since(began) < s.size.latency {
			if received, err = s.receiver.number("count"); err != nil {
				return err
			}
			for ; published < received+ahead; published++ {
				if _, err := s.js.PublishAsync("bench.0", payload); err != nil {
					return err
				}
			}
			if err := nap(200 * time.Microsecond); err != nil {
				return err
			}
		}
		rate = float64(received) / time.Since(began).Seconds()
		return s.received(ctx, published)
	})
	return rate, err
}

// atLoad publishes at a fixed rate, the first fifth to warm up, and says how late the
// rest came.
func (s *suite) atLoad(ctx context.Context, c cell, name string, rate float64) (late lateness, err error) {
	err = s.live(ctx, c, name, func() error {
		warm := int64(rate * s.size.latency.Seconds() / 5)
		if err := s.publishAt(c, rate, warm); err != nil {
			return err
		}
		if err := s.received(ctx, warm); err != nil {
			return err
		}
		if _, err := s.receiver.ask("reset"); err != nil {
			return err
		}
		n := int64(rate * s.size.latency.Seconds())
		if err := s.publishAt(c, rate, n); err != nil {
			return err
		}
		if err := s.received(ctx, n); err != nil {
			return err
		}
		answer, err := s.receiver.ask("late")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(answer), &late)
	})
	return late, err
}

// live runs a contestant on an empty stream while do publishes to it.
func (s *suite) live(ctx context.Context, c cell, name string, do func() error) error {
	if err := s.newStream(ctx, 0, c.bytes, c.routes); err != nil {
		return err
	}
	p, err := s.deliver(ctx, job{Contestant: name, Routes: c.routes, InFlight: c.inFlight})
	if err != nil {
		return err
	}
	return errors.Join(do(), p.stop())
}

// publishAt publishes n messages, each when it is due, or as soon after as it can.
func (s *suite) publishAt(c cell, rate float64, n int64) error {
	began := time.Now()
	for i := range n {
		at := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			if err := nap(wait); err != nil {
				return err
			}
		}
		if _, err := s.js.PublishAsync("bench.0", body(c.bytes, at), jetstream.WithStallWait(patience)); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) received(ctx context.Context, n int64) error {
	return must(ctx, strconv.FormatInt(n, 10)+" messages come", func() (bool, error) {
		got, err := s.receiver.number("count")
		return got >= n, err
	})
}

// body is a message that says when it was due.
func body(bytes int, at time.Time) []byte {
	head := fmt.Sprintf("%s%0*d", due, dueDigits, max(0, at.UnixNano()))
	return []byte(head + strings.Repeat("x", max(0, bytes-len(head))))
}

// nap sleeps to some tens of microseconds, by the system's clock: an idle Go program's
// timers go by the millisecond, which would send messages in lumps.
func nap(d time.Duration) error {
	t := syscall.NsecToTimespec(d.Nanoseconds())
	if err := syscall.Nanosleep(&t, nil); err != nil && !errors.Is(err, syscall.EINTR) {
		return fmt.Errorf("wait for a message's time: %w", err)
	}
	return nil
}

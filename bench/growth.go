package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit" //nolint:depguard // the suite starts Postgres as tests do
	"relay/routes"
)

// grown is what one cost came to at each size.
type grown struct {
	what, unit string
	digits     int
	sizes      []int
	costs      []float64
}

// growth doubles one size at a time and prints whether the costs keep the pace.
func growth(ctx context.Context, s *suite) error {
	var all []*grown
	for _, grow := range []func(context.Context, *suite) ([]*grown, error){growBodies, growInFlight, growBacklog, growRoutes, growTable} {
		more, err := grow(ctx, s)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	s.report.title("Growth")
	s.report.paragraph("Each cost as its size doubles. The last but one column is the mean factor of a doubling: 2.0 is linear, 1.0 is " +
		"a cost that does not depend on the size, 4.0 would be square.")
	t := table{head: []string{"cost of relay", "sizes", "", "× a doubling", ""}}
	for _, g := range all {
		sizes, costs := []string{}, []string{}
		x := make([]float64, len(g.sizes))
		for i := range g.sizes {
			x[i] = float64(g.sizes[i])
			sizes = append(sizes, fmt.Sprint(g.sizes[i]))
			costs = append(costs, fmt.Sprintf("%.*f", g.digits, g.costs[i]))
		}
		factor, verdict := math.Pow(2, exponent(x, g.costs)), "linear or less"
		if factor > 2.2 {
			verdict = "**more than linear**"
		}
		t.row(g.what, strings.Join(sizes, ", "), strings.Join(costs, ", ")+" "+g.unit, fmt.Sprintf("%.2f", factor), verdict)
	}
	s.report.table(t)
	return nil
}

func (g *grown) add(size int, cost float64) {
	g.sizes, g.costs = append(g.sizes, size), append(g.costs, cost)
}

// growBodies: the CPU that a message takes by the size of its body.
func growBodies(ctx context.Context, s *suite) ([]*grown, error) {
	g := &grown{what: "CPU a message, by KiB of its body", unit: "µs", digits: 0}
	for size := 1; size <= 64; size *= 2 {
		c := cell{bytes: size << 10, routes: 1, inFlight: 64}
		if err := s.newStream(ctx, s.messages(c), c.bytes, 1); err != nil {
			return nil, err
		}
		cost, err := s.medianOf(func() (float64, error) {
			one, err := s.measure(ctx, c, job{Contestant: relayItself})
			return one.cpuUs, err
		})
		if err != nil {
			return nil, err
		}
		g.add(size, cost)
	}
	return []*grown{g}, nil
}

// growInFlight goes through the stream that growBodies left, of 64 KiB each.
func growInFlight(ctx context.Context, s *suite) ([]*grown, error) {
	g := &grown{what: "peak memory, by messages of 64 KiB in flight", unit: "MiB", digits: 0}
	for n := 16; n <= 256; n *= 2 {
		cost, err := s.medianOf(func() (float64, error) {
			one, err := s.measure(ctx, cell{bytes: 64 << 10, routes: 1, inFlight: n}, job{Contestant: relayItself})
			return one.peak, err
		})
		if err != nil {
			return nil, err
		}
		g.add(n, cost)
	}
	return []*grown{g}, nil
}

// growBacklog: how long a backlog takes.
func growBacklog(ctx context.Context, s *suite) ([]*grown, error) {
	g := &grown{what: "delivery of a backlog, by messages of 1 KiB", unit: "s", digits: 2}
	c := cell{bytes: 1 << 10, routes: 1, inFlight: 64}
	for n := s.size.deadLetters / 2; n <= 4*s.size.deadLetters; n *= 2 {
		if err := s.newStream(ctx, n, c.bytes, 1); err != nil {
			return nil, err
		}
		took, err := s.medianOf(func() (float64, error) {
			return s.whileRelay(ctx, c, job{}, func() error { return s.received(ctx, int64(n)) })
		})
		if err != nil {
			return nil, err
		}
		g.add(n, took)
	}
	return []*grown{g}, nil
}

// growRoutes: a file's reading, the start and the memory of its routes.
func growRoutes(ctx context.Context, s *suite) ([]*grown, error) {
	read := &grown{what: "reading the routes file, least of ten, by routes", unit: "ms", digits: 1}
	started := &grown{what: "start, by routes", unit: "s", digits: 2}
	own := &grown{what: "CPU of a start, by routes", unit: "s", digits: 2}
	server := &grown{what: "the NATS server's CPU for it", unit: "s", digits: 2}
	memory := &grown{what: "resident memory, by routes", unit: "MiB", digits: 0}
	for _, n := range s.size.growRoutes {
		file := routesFile(job{Routes: n, InFlight: 16, Hook: s.hook})
		least := math.Inf(1) // it waits for nothing: what is above the least is the machine's
		for range 10 {
			began := time.Now()
			if _, err := routes.Parse("routes.yaml", file, routes.Options{}); err != nil {
				return nil, err
			}
			least = min(least, float64(time.Since(began).Microseconds())/1000)
		}
		read.add(n, least)
		one, err := s.stand(ctx, n, 100*time.Millisecond)
		if err != nil {
			return nil, err
		}
		started.add(n, one.start)
		own.add(n, one.startCPU)
		server.add(n, one.serverCPU)
		memory.add(n, one.rsMiB)
	}
	return []*grown{read, started, own, server, memory}, nil
}

// growTable: what the projector and the page ask of a table of ever more dead letters.
func growTable(ctx context.Context, s *suite) ([]*grown, error) {
	pg, err := testkit.StartPostgres()
	if err != nil {
		return nil, err
	}
	all, err := s.growTable(ctx, pg.URL)
	return all, errors.Join(err, pg.Close())
}

func (s *suite) growTable(ctx context.Context, database string) ([]*grown, error) {
	store, err := dlqstore.Open(ctx, database, dlqstore.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	all := []*grown{{what: "projecting 500 more, by rows in the table", unit: "ms"}}
	questions := []struct {
		what string
		ask  func() error
	}{
		{"first page of a list, by rows", func() error { _, err := store.List(ctx, dlqstore.Filter{}, dlqstore.Page{}); return err }},
		{"count, by rows", func() error { _, err := store.Count(ctx, dlqstore.Filter{}); return err }},
		{"groups, by rows", func() error { _, err := store.Groups(ctx, dlqstore.Filter{}, 0); return err }},
	}
	for _, q := range questions {
		all = append(all, &grown{what: q.what, unit: "ms", digits: 1})
	}
	rows := 0
	for _, size := range s.size.growRows {
		var batches []float64
		for ; rows < size; rows += 500 {
			batch := batchOf(rows, 500)
			began := time.Now()
			if err := store.Project(ctx, batch); err != nil {
				return nil, err
			}
			batches = append(batches, float64(time.Since(began).Microseconds())/1000)
		}
		all[0].add(size, median(batches[len(batches)/2:]))
		for i, q := range questions {
			var took []float64
			for range 20 {
				began := time.Now()
				if err := q.ask(); err != nil {
					return nil, err
				}
				took = append(took, float64(time.Since(began).Microseconds())/1000)
			}
			all[i+1].add(size, median(took))
		}
	}
	return all, nil
}

// batchOf are dead letters of 1 KiB of JSON, of 20 routes.
func batchOf(first, n int) dlqstore.Batch {
	var b dlqstore.Batch
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := first; i < first+n; i++ {
		payload, err := json.Marshal(map[string]string{"customer": fmt.Sprint("customer-", i), "text": strings.Repeat("x", 980)})
		if err != nil {
			continue // strings always marshal
		}
		b.DeadLetters = append(b.DeadLetters, dlqstore.Record{DeadLetter: dlqstore.DeadLetter{
			ID: fmt.Sprintf("msg_%026d", i), Route: fmt.Sprint("route-", i%20), State: dlqstore.Dead, Reason: dlqstore.Exhausted,
			OriginalSubject: fmt.Sprintf("orders.%d.created", i%100), Payload: payload,
			Error: fmt.Sprintf("the receiver answered %d", 500+i%7), Status: 500 + i%7, RetryCount: 8,
			ConsumerName: "relay-orders", Stream: "ORDERS", StreamSequence: uint64(i + 1), //nolint:gosec // it counts up from 0
			PublishedAt: at.Add(time.Duration(i) * time.Second), FailedAt: at.Add(time.Duration(i+5) * time.Second),
		}})
	}
	return b
}

// medianOf runs a measurement in up to three rounds.
func (s *suite) medianOf(measure func() (float64, error)) (float64, error) {
	var v []float64
	for range min(3, s.size.rounds) {
		one, err := measure()
		if err != nil {
			return 0, err
		}
		v = append(v, one)
	}
	return median(v), nil
}

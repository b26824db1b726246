package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit" //nolint:depguard // the suite starts Postgres as tests do
)

// dlqStream is where relay parks.
const dlqStream = "RELAY_DLQ"

// deadLetters measures the three ways of a dead letter apart: into the stream, from
// there into Postgres, and by a replay job back to the receiver and its end in the table.
func deadLetters(ctx context.Context, s *suite) error {
	pg, err := testkit.StartPostgres()
	if err != nil {
		return err
	}
	return errors.Join(s.deadLetterRates(ctx, pg.URL), s.million(ctx, pg.URL), pg.Close())
}

func (s *suite) deadLetterRates(ctx context.Context, database string) error {
	store, err := dlqstore.Open(ctx, database, dlqstore.OpenOptions{})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	c := cell{bytes: 1 << 10, routes: 1, inFlight: 64}
	steps := []struct {
		name string
		run  func(context.Context, cell, string, dlqstore.Store) (rate float64, err error)
	}{
		{"park: refused by the receiver, kept in the dead-letter stream", s.park},
		{"project: from the stream into Postgres", s.project},
		{"replay: a job over all, from the table to the receiver and back into the table", s.replay},
	}
	rates := make([][]float64, len(steps))
	for range s.size.deadRounds {
		for i, step := range steps {
			rate, err := step.run(ctx, c, database, store)
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			rates[i] = append(rates[i], rate)
		}
	}
	s.report.title("Dead letters")
	s.report.paragraph("%d dead letters of %d bytes a round, %d in flight, %d rounds, median (least–most), from the moment "+
		"that relay runs. Postgres does not wait for the disk.", s.size.deadLetters, c.bytes, c.inFlight, s.size.deadRounds)
	t := table{head: []string{"", "dead letters/s"}}
	for i, step := range steps {
		t.row(step.name, spread(rates[i], 0))
	}
	s.report.table(t)
	return nil
}

// park has every message refused.
func (s *suite) park(ctx context.Context, c cell, _ string, _ dlqstore.Store) (float64, error) {
	if _, err := s.receiver.ask("refuse"); err != nil {
		return 0, err
	}
	if err := s.newStream(ctx, s.size.deadLetters, c.bytes, c.routes); err != nil {
		return 0, err
	}
	took, err := s.whileRelay(ctx, c, job{}, func() error { return s.received(ctx, int64(s.size.deadLetters)) })
	return float64(s.size.deadLetters) / took, err
}

// project runs until the projector has acked all there is, which it does after COMMIT.
func (s *suite) project(ctx context.Context, c cell, database string, _ dlqstore.Store) (float64, error) {
	took, err := s.whileRelay(ctx, c, job{Database: database, ProjectOnly: true}, func() error {
		return must(ctx, "all dead letters are in the table", func() (bool, error) {
			consumer, err := s.js.Consumer(ctx, dlqStream, "relay-projector")
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			info := consumer.CachedInfo()
			return info.NumPending == 0 && info.NumAckPending == 0, nil
		})
	})
	return float64(s.size.deadLetters) / took, err
}

// replay runs a job over every dead letter to its end.
func (s *suite) replay(ctx context.Context, c cell, database string, store dlqstore.Store) (float64, error) {
	if _, err := s.receiver.ask("accept"); err != nil {
		return 0, err
	}
	started, err := store.StartJob(ctx, dlqstore.JobSpec{}, dlqstore.Actor{Name: "bench"})
	if err != nil {
		return 0, err
	}
	took, err := s.whileRelay(ctx, c, job{Database: database}, func() error {
		return must(ctx, "the replay job is done", func() (bool, error) {
			now, err := store.Job(ctx, started.ID)
			return now.State == dlqstore.JobDone && now.Remaining() == 0, err
		})
	})
	return float64(started.Total) / took, err
}

// whileRelay returns how many seconds do took beside a relay that runs.
func (s *suite) whileRelay(ctx context.Context, c cell, j job, do func() error) (seconds float64, err error) {
	j.Contestant, j.Routes, j.InFlight = relayItself, c.routes, c.inFlight
	p, err := s.deliver(ctx, j)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = do()
	seconds = time.Since(began).Seconds()
	return seconds, errors.Join(err, p.stop())
}

// million asks a table of 1,000,000 dead letters what the API asks: a benchmark of
// dlqstore, whose own figures are printed.
func (s *suite) million(ctx context.Context, database string) error {
	if s.size.rowsBenched == "" {
		return nil
	}
	lines, err := goBench(ctx, "./dlqstore", "Million", s.size.rowsBenched, testkit.PostgresEnv+"="+database)
	if err != nil {
		return err
	}
	s.report.paragraph("On a table of 1,000,000 dead letters, the 95th percentile of %s:", s.size.rowsBenched)
	t := table{head: []string{"filter", "list, ms", "count, ms", "groups, ms"}}
	rows := map[string][]string{}
	var order []string
	for _, l := range lines {
		what, filter := l.part(1), l.part(2)
		if rows[filter] == nil {
			rows[filter] = []string{filter, "", "", ""}
			order = append(order, filter)
		}
		for i, column := range []string{"", "list", "count", "groups"} {
			if column == what {
				rows[filter][i] = l.figure("p95-ms")
			}
		}
	}
	for _, filter := range order {
		t.row(rows[filter]...)
	}
	s.report.table(t)
	return nil
}

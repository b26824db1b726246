package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/natsconn"
	"relay/routes"
)

// startRelay wires relay as `relay run` does, without the admin server: signed, with
// metrics, and a line of log for each attempt, which goes to /dev/null. It returns when
// every route runs.
func startRelay(ctx context.Context, j job) (loop, error) {
	config, err := routes.Parse("routes.yaml", routesFile(j), routes.Options{})
	if err != nil {
		return loop{}, err
	}
	conn, err := natsconn.Connect(ctx, natsconn.Options{URL: j.NATS})
	if err != nil {
		return loop{}, err
	}
	devNull, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return loop{}, err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o := dispatcher.Options{
		Conn: conn, Config: config, Drain: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(devNull, nil)), Registerer: reg,
		LookupEnv: func(string) (string, bool) {
			return "whsec_" + base64.StdEncoding.EncodeToString([]byte(benchKey)), true
		},
	}
	ctx, cancel := context.WithCancel(ctx)
	parts, ctx := errgroup.WithContext(ctx)
	l := loop{stop: func() error {
		cancel()
		return errors.Join(parts.Wait(), conn.Drain())
	}}
	if j.Database != "" {
		if o.Overflow, err = startDeadLetters(ctx, parts, o, j.Database); err != nil {
			return l, err
		}
	}
	if j.ProjectOnly {
		return l, nil
	}
	d, err := dispatcher.New(o)
	if err != nil {
		return l, err
	}
	d.Prepare(ctx)
	parts.Go(func() error { return d.Run(ctx) })
	return l, allRun(ctx, d)
}

// routesFile has one signed route for each subject of the stream.
func routesFile(j job) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndefaults:\n  concurrency: %d\n  webhook: { url: %q, signing: { secrets: [{ env: BENCH_WHSEC }] } }\nroutes:\n", j.InFlight, j.Hook)
	for i := range j.Routes {
		fmt.Fprintf(&b, "  - { name: r%[1]d, stream: %[2]s, filter_subjects: [bench.%[1]d] }\n", i, streamName)
	}
	return []byte(b.String())
}

// startDeadLetters runs what carries dead letters to the table and replays back.
func startDeadLetters(
	ctx context.Context, parts *errgroup.Group, o dispatcher.Options, database string,
) (dlqstore.Store, error) {
	store, err := dlqstore.Open(ctx, database, dlqstore.OpenOptions{Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	js, err := jetstream.New(o.Conn)
	if err != nil {
		return nil, err
	}
	projector, err := dlqstore.NewProjector(dlqstore.ProjectorOptions{
		JetStream: js, Store: store, Streams: []string{o.Config.DeadLetter.Stream}, Logger: o.Logger, Metrics: o.Registerer,
	})
	if err != nil {
		return nil, err
	}
	replayer, err := dlqstore.NewReplayer(dlqstore.ReplayerOptions{JetStream: js, Store: store, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	parts.Go(func() error { return projector.Run(ctx) })
	parts.Go(func() error { return replayer.Run(ctx) })
	return store, nil
}

// allRun waits until every route runs. To look at all of them costs as much as there are
// routes, on the CPUs that they start on: it may take a twentieth of the time.
func allRun(ctx context.Context, d *dispatcher.Dispatcher) error {
	var next time.Time
	return must(ctx, "every route of relay runs", func() (bool, error) {
		began := time.Now()
		if began.Before(next) {
			return false, nil
		}
		starting := slices.ContainsFunc(d.Status(), func(s dispatcher.Status) bool { return s.State != dispatcher.StateRunning })
		next = time.Now().Add(20 * time.Since(began))
		return !starting, nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"relay/admin"
	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/fleet"
	"relay/internal/natsconn"
	"relay/routes"
)

// settings are everything that `relay run` and `relay dev` can be told.
type settings struct {
	config      *routes.Config
	nats        natsconn.Options
	database    string // postgres://… or sqlite:PATH
	embedded    bool
	data        string // folder of the embedded servers
	natsPort    int
	adminAddr   string
	admin       net.Listener // open already, so that a port in use is found first
	allowRemote bool
	basePath    string // of the admin page behind a proxy
	authOptions admin.AuthOptions
	auth        *admin.Auth // nil: nobody is asked who they are
	health      admin.HealthLimits
	drain       time.Duration
	maxInFlight int64 // bytes
	noMigrate   bool
	// allowRecreate is dispatcher.Options.AllowRecreate.
	allowRecreate bool
	reload        reloading
	lookupEnv     func(string) (string, bool)
	log           *slog.Logger
	logging       logging
	// announce, when set, says what runs where in place of a line of log; the URL of NATS
	// is without credentials.
	announce func(adminURL, natsURL string)
	// beside is what else goes on, by its name, until its context ends.
	beside map[string]func(ctx context.Context, js jetstream.JetStream) error
}

// serve runs relay until ctx ends: NATS, the store, the dispatcher, the projector, the
// replays and the admin server, all wired here and nowhere else. The dispatcher drains
// first; the rest follows when it has settled what it had in hand.
func serve(ctx context.Context, s settings) error {
	defer s.admin.Close()
	if s.embedded {
		server, err := startEmbedded(&s)
		if err != nil {
			return unusable(err)
		}
		defer server.Shutdown()
	}
	// Opening contacts no database, but finds a URL that cannot be right before the wait
	// for NATS.
	store, err := dlqstore.Open(ctx, s.database, dlqstore.OpenOptions{Logger: s.log})
	if err != nil {
		return unusable(err)
	}
	defer store.Close()

	started := answerProbes(s.admin)
	conn, err := connect(ctx, s)
	started()
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while waiting for NATS
		}
		return unusable(err)
	}
	defer conn.Close()
	tracer, flush, err := newTracer(ctx, s.log)
	if err != nil {
		return unusable(err)
	}
	defer flush()

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	js, err := jetstream.New(conn)
	if err != nil {
		return unusable(fmt.Errorf("use JetStream: %w", err))
	}
	disp, err := dispatcher.New(dispatcher.Options{
		Conn: conn, Config: s.config, Overflow: store, Instance: instance(), Version: relayVersion(),
		Drain: s.drain, MaxInFlightBytes: s.maxInFlight, Logger: s.log, Registerer: reg, LookupEnv: s.lookupEnv, AllowRecreate: s.allowRecreate,
		Tracer: tracer, Forbidden: ownAddresses(ctx, conn, s.database, s.admin.Addr(), s.log),
	})
	if err != nil {
		return wrong(err)
	}
	projector := newProjection(dlqstore.ProjectorOptions{
		JetStream: js, Store: store, Streams: deadLetterStreams(s.config), Logger: s.log, Metrics: reg, Tracer: tracer,
	})
	var inForce atomic.Pointer[routes.Config]
	inForce.Store(s.config)
	pruner, err := dlqstore.NewPruner(dlqstore.PrunerOptions{
		Store: store, Retention: func() dlqstore.Retention { return retention(inForce.Load()) }, Logger: s.log,
	})
	if err != nil {
		return wrong(err)
	}
	replayer, err := dlqstore.NewReplayer(dlqstore.ReplayerOptions{JetStream: js, Store: store, Logger: s.log})
	if err != nil {
		return wrong(err)
	}
	reloads := newReloader(s.reload, func(ctx context.Context, c *routes.Config) error {
		if err := disp.Apply(ctx, c); err != nil {
			return err
		}
		projector.Follow(deadLetterStreams(c))
		inForce.Store(c)
		return nil
	}, s.log, reg)
	others := fleet.New(fleet.Options{Conn: conn, Gatherer: reg, Local: attempts{disp}, Instance: instance(), Version: relayVersion(), Logger: s.log})
	waiting := &backlog{js: js, status: disp.Status, log: s.log, seen: map[string]oldest{}}
	adminServer, err := admin.New(admin.Options{
		Store: store, Routes: routeView{disp, waiting}, Fleet: others, BasePath: s.basePath, NATS: natsHealth(conn), Replays: replayer, Republish: disp,
		Rebuild: dlqstore.NewRebuilder(dlqstore.RebuilderOptions{JetStream: js, Store: store, Streams: projector.Streams}),
		Config:  reloads.Status, Reload: reloads.Reload, Gatherer: reg,
		Auth: s.auth, HealthLimits: s.health, AllowRemote: s.allowRemote, Version: relayVersion(), Logger: s.log,
	})
	if err != nil {
		return unusable(err)
	}

	disp.Prepare(ctx)

	// rest ends after the dispatcher has drained, or when any part breaks.
	rest, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var parts sync.WaitGroup
	part := func(what string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(rest); err != nil && rest.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	part("admin server", func(ctx context.Context) error { return adminServer.Serve(ctx, s.admin) })
	part("reload", reloads.Run)
	part("fleet", func(ctx context.Context) error {
		if err := others.Run(ctx); err != nil { // deliveries need nobody's figures
			s.log.Warn("the page shows the figures of this process only", "err", err)
		}
		return nil
	})
	part("backlog", waiting.Run)
	part("notify", newNotifier(js, inForce.Load, disp.Status, store, s.log).Run)
	part("store", func(ctx context.Context) error {
		if err := migrate(ctx, store, s); err != nil {
			return err
		}
		part("projector", projector.Run)
		part("replays", replayer.Run)
		part("retention", pruner.Run)
		return nil
	})
	deliver, halt := context.WithCancel(ctx)
	defer halt()
	defer context.AfterFunc(rest, halt)()
	for what, run := range s.beside {
		part(what, func(ctx context.Context) error { return run(ctx, js) })
	}
	adminURL, natsURL := "http://"+s.admin.Addr().String(), natsconn.Redact(conn.ConnectedUrl())
	if s.announce != nil {
		s.announce(adminURL, natsURL)
	} else {
		s.log.Info("relay runs", "version", relayVersion(), "routes", len(s.config.Routes), "admin", adminURL, "nats", natsURL)
	}
	defer context.AfterFunc(ctx, func() {
		s.log.Info("stopping: attempts under way may finish, a second signal cuts them off", "drain", s.drain)
	})()
	err = disp.Run(deliver)
	stop(err)
	parts.Wait()
	if cause := context.Cause(rest); cause != nil && !errors.Is(cause, context.Canceled) {
		return wrong(cause)
	}
	s.log.Info("relay stopped")
	return nil
}

// startEmbedded starts NATS inside the process and points the settings to it and to a
// SQLite file beside it.
func startEmbedded(s *settings) (*natsconn.Embedded, error) {
	server, err := natsconn.StartEmbedded(natsconn.EmbeddedOptions{
		Dir: filepath.Join(s.data, "nats"), Port: s.natsPort, SyncAlways: true, Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	s.nats = natsconn.Options{URL: server.URL()}
	s.database = "sqlite:" + filepath.Join(s.data, "relay.db")
	return server, nil
}

// connect waits for NATS and says what it waits for.
func connect(ctx context.Context, s settings) (*nats.Conn, error) {
	s.nats.Name, s.nats.Logger = "relay "+instance(), s.log
	return natsconn.Wait(ctx, s.nats, saying(s.log, "waiting for NATS"))
}

// saying logs an error, but not the same one twice in a row.
func saying(log *slog.Logger, what string) func(error) {
	said := ""
	return func(err error) {
		if err.Error() != said {
			said = err.Error()
			log.Warn(what, "err", err)
		}
	}
}

// migrate brings the database's schema up, for as long as it takes the database to
// answer: deliveries do not wait for it. A schema newer than this relay is final.
func migrate(ctx context.Context, store dlqstore.Store, s settings) error {
	if s.noMigrate {
		return nil
	}
	waited, failed := false, saying(s.log, "waiting for the database; deliveries go on, the table catches up")
	return backoff.Retry(func() error {
		err := store.Migrate(ctx)
		switch {
		case err == nil && waited:
			s.log.Info("the database answers")
		case errors.Is(err, dlqstore.ErrTooNew):
			return backoff.Permanent(err)
		case err != nil && ctx.Err() == nil:
			waited = true
			failed(err)
		}
		return err
	}, backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0)), ctx))
}

func deadLetterStreams(c *routes.Config) []string {
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.DeadLetter.Stream)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// retention is what the routes file says of how long dead letters are kept.
func retention(c *routes.Config) dlqstore.Retention {
	r := dlqstore.Retention{Default: c.DeadLetter.Retention, Routes: map[string]time.Duration{}}
	for _, route := range c.Routes {
		r.Routes[route.Name] = route.DeadLetter.Retention
	}
	return r
}

func natsHealth(conn *nats.Conn) func(context.Context) error {
	return func(context.Context) error {
		if conn.IsConnected() {
			return nil
		}
		return fmt.Errorf("the connection to NATS is %s", strings.ToLower(conn.Status().String()))
	}
}

func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "relay_build_info", Help: "1, with the version of this relay.",
		ConstLabels: prometheus.Labels{"version": relayVersion()},
	}, func() float64 { return 1 })
}

// instance names this process in attempt events and at the NATS server.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "relay"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

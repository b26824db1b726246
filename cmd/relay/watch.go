package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"

	"relay/admin"
	"relay/routes"
)

// settle is how long the folder has to be quiet before a change in it counts: editors
// and mounted ConfigMaps change a file in several steps.
const settle = 250 * time.Millisecond

// reloading is how a running relay comes to another routes file.
type reloading struct {
	load   func() (*routes.Config, error)
	watch  string         // file or folder whose changes are put in force by themselves; empty: none
	hangup chan os.Signal // gets each SIGHUP, which asks for a reload; nil: none does
}

// reloader puts the routes file in force anew: when it is asked to, at SIGHUP, and when
// the file changes. A file that is refused changes nothing but the status.
type reloader struct {
	reloading
	apply func(ctx context.Context, c *routes.Config) error
	log   *slog.Logger
	good  prometheus.Gauge
	asks  chan chan<- error

	watcher *fsnotify.Watcher // nil unless files are watched
	folder  string            // that is watched
	file    string            // of the folder; empty: all of it is routes

	mu     sync.Mutex
	status admin.ConfigStatus
}

func newReloader(how reloading, apply func(context.Context, *routes.Config) error, log *slog.Logger, reg prometheus.Registerer) *reloader {
	r := &reloader{
		reloading: how, apply: apply, log: log, asks: make(chan chan<- error),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "relay_config_last_reload_successful", Help: "1 while the routes file as last read is in force, 0 after one that was refused.",
		}),
		status: admin.ConfigStatus{LoadedAt: time.Now()},
	}
	r.good.Set(1)
	reg.MustRegister(r.good)
	return r
}

// Status tells which file is in force, for the page and /readyz.
func (r *reloader) Status() admin.ConfigStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Reload asks for a reload and waits for its end. When ctx ends first the reload goes
// on: routes that changed may still wait for their deliveries.
func (r *reloader) Reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case r.asks <- answer:
	case <-ctx.Done():
		return errors.New("another reload is under way; try again when it has ended")
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return errors.New("the reload goes on: routes that changed wait for their deliveries to end; /readyz tells what came of it")
	}
}

// Run reloads until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	var events <-chan fsnotify.Event // nil, and silent, unless files are watched
	var errs <-chan error
	if r.watch != "" {
		if err := r.watchFolder(); err != nil {
			return err
		}
		defer r.watcher.Close() //nolint:errcheck // it held nothing but the watch
		events, errs = r.watcher.Events, r.watcher.Errors
	}
	quiet := time.NewTimer(0)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case answer := <-r.asks:
			answer <- r.reload(ctx)
		case <-r.hangup:
			_ = r.reload(ctx) // it has said what came of it
		case <-quiet.C:
			_ = r.reload(ctx)
		case event := <-events:
			if r.concerns(event) {
				quiet.Reset(settle)
			}
		case err := <-errs:
			r.log.Warn("watching the routes file", "err", err)
			quiet.Reset(settle) // events may have been lost
		}
	}
}

// watchFolder watches the folder, not the file: editors replace files, and in a
// mounted ConfigMap only a link beside them changes. The folder around it is watched
// for a folder that is deleted and made anew.
func (r *reloader) watchFolder() error {
	watched, err := filepath.Abs(r.watch)
	if err != nil {
		return fmt.Errorf("watch the routes file: %w", err)
	}
	if r.watcher, err = fsnotify.NewWatcher(); err != nil {
		return fmt.Errorf("watch the routes file: %w", err)
	}
	r.folder, r.file = filepath.Split(watched)
	r.folder = filepath.Clean(r.folder)
	if info, err := os.Stat(watched); err == nil && info.IsDir() {
		r.folder, r.file = watched, ""
	}
	for _, folder := range []string{r.folder, filepath.Dir(r.folder)} {
		if err := r.watcher.Add(folder); err != nil {
			_ = r.watcher.Close()
			return fmt.Errorf("watch folder %s: %w", folder, err)
		}
	}
	return nil
}

// concerns says whether an event may have changed what the routes are: one of the
// file, of the link that a ConfigMap swaps, of any file of a folder of routes, or of
// the folder itself, which is watched again when it is back.
func (r *reloader) concerns(event fsnotify.Event) bool {
	if event.Op == fsnotify.Chmod {
		return false
	}
	if event.Name == r.folder {
		if event.Has(fsnotify.Create) {
			if err := r.watcher.Add(r.folder); err != nil {
				r.log.Warn("watching the routes file; SIGHUP reloads it", "err", err)
			}
		}
		return true
	}
	if filepath.Dir(event.Name) != r.folder {
		return false
	}
	switch name := filepath.Base(event.Name); filepath.Ext(name) {
	case ".yaml", ".yml":
		return r.file == "" || name == r.file
	default:
		return name == r.file || name == "..data"
	}
}

// reload reads the file and applies it, and says what came of it.
func (r *reloader) reload(ctx context.Context) error {
	c, err := r.load()
	if err == nil {
		err = r.apply(ctx, c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		err = shortened(err)
		r.status.Error, r.status.FailedAt = err.Error(), time.Now()
		r.good.Set(0)
		r.log.Error("routes file refused; the routes in force stay", "err", err)
		return err
	}
	r.status = admin.ConfigStatus{LoadedAt: time.Now()}
	r.good.Set(1)
	for _, w := range c.Warnings {
		r.log.Warn("routes file", "warning", w.String())
	}
	r.log.Info("routes file in force", "routes", len(c.Routes))
	return nil
}

// shortened keeps the first of many lines: relay validate shows all of them.
func shortened(err error) error {
	const most = 5
	lines := strings.Split(err.Error(), "\n")
	if len(lines) <= most {
		return err
	}
	return fmt.Errorf("%s\nand %d more; relay validate shows all", strings.Join(lines[:most], "\n"), len(lines)-most)
}

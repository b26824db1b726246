package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"relay/routes"
)

// runner is a route and what stops it.
type runner struct {
	*route
	cancel context.CancelFunc // nil until it is started
	ended  chan struct{}
}

func newRunner(s *shared, cfg routes.Route) (*runner, error) {
	r, err := newRoute(s, cfg)
	if err != nil {
		return nil, err
	}
	return &runner{route: r, ended: make(chan struct{})}, nil
}

// ErrNotRunning says that Apply was called before Run, or after it.
var ErrNotRunning = errors.New("the dispatcher does not run")

// Apply puts another routes file in force while Run runs: all of it, or nothing and an
// error that says why. It returns when the new routes are started.
//
// Only routes whose settings differ are stopped, and started anew once their attempts
// under way have ended; the others do not notice. A route that the file no longer has
// ends likewise; its consumer stays and shows in Status as an orphan.
func (d *Dispatcher) Apply(ctx context.Context, c *routes.Config) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	if !d.runs() {
		return ErrNotRunning
	}
	next, err := d.compare(c)
	if err != nil {
		return err
	}
	if err := d.check(ctx, c, next.fresh); err != nil {
		next.discard()
		return err
	}
	// From here on it is not left half done because somebody stopped waiting.
	ctx = context.WithoutCancel(ctx)
	if err := d.carryOut(ctx, c, next); err != nil {
		next.discard()
		return errors.Join(err, d.restore(ctx, next))
	}
	d.replace(c, next)
	return nil
}

// change is what a new file means for the routes that run.
type change struct {
	routes  []*runner // all enabled routes of the new file, in its order
	fresh   []*runner // of those, the ones to start
	gone    []*runner // those to stop: changed, disabled or removed
	created []Step    // consumers that came to be on the way
}

// discard lets go of routes that were made and never run.
func (c *change) discard() {
	for _, r := range c.fresh {
		r.sender.Close()
	}
}

// compare makes the routes that are new or changed.
func (d *Dispatcher) compare(c *routes.Config) (*change, error) {
	current := map[string]*runner{}
	for _, r := range d.running() {
		current[r.cfg.Name] = r
	}
	next := &change{}
	var errs []error
	for _, cfg := range c.Routes {
		if !cfg.Enabled {
			continue
		}
		if r, ok := current[cfg.Name]; ok && sameRoute(r.cfg, cfg) {
			next.routes = append(next.routes, r)
			delete(current, cfg.Name)
			continue
		}
		r, err := newRunner(d.shared, cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next.routes, next.fresh = append(next.routes, r), append(next.fresh, r)
	}
	if len(errs) > 0 {
		next.discard()
		return nil, errors.Join(errs...)
	}
	for _, r := range d.running() {
		if current[r.cfg.Name] != nil {
			next.gone = append(next.gone, r)
		}
	}
	return next, nil
}

// sameRoute says whether two routes differ in nothing but their place in the file.
func sameRoute(a, b routes.Route) bool {
	a.Pos, b.Pos = routes.Position{}, routes.Position{}
	return reflect.DeepEqual(a, b)
}

// check looks, by the plan, for what would keep the changed parts of the file from
// running. Nothing has been touched yet.
func (d *Dispatcher) check(ctx context.Context, c *routes.Config, fresh []*runner) error {
	p := newPlanner(d.shared.js, c)
	steps, err := p.streamSteps(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range steps {
		before, _ := declared(d.shared.file(), s.Stream)
		if now, _ := declared(c, s.Stream); !reflect.DeepEqual(before, now) {
			errs = append(errs, s.obstacle(d.shared.allowRecreate))
		}
	}
	for _, r := range fresh {
		steps, err := p.consumers(ctx, r.cfg)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if err := s.obstacle(d.shared.allowRecreate); err != nil {
				errs = append(errs, fmt.Errorf("route %q: %w", r.cfg.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// carryOut stops what has changed and makes streams and consumers what the file says.
// The consumers come after the stop, so that no message goes out by the old settings
// that only the new ones ask for.
func (d *Dispatcher) carryOut(ctx context.Context, c *routes.Config, next *change) error {
	p := newPlanner(d.shared.js, c)
	steps, err := p.streamSteps(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.Action != Refuse { // one that stood before, or check had found it
			if err := s.run(ctx, false); err != nil {
				return err
			}
		}
	}
	stop(next.gone)
	p = newPlanner(d.shared.js, c) // streams and positions are others now
	for _, r := range next.fresh {
		steps, err := p.consumers(ctx, r.cfg)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if err := s.run(ctx, d.shared.allowRecreate); err != nil {
				return fmt.Errorf("route %q: %w", r.cfg.Name, err)
			}
			if s.Action == Create {
				next.created = append(next.created, s)
			}
		}
	}
	return nil
}

// stop ends routes and returns when every message they had in hand is settled.
func stop(gone []*runner) {
	for _, r := range gone {
		r.cancel()
	}
	for _, r := range gone {
		<-r.ended
	}
}

// restore undoes a change that failed midway: the routes that it stopped run again,
// and put their consumers back themselves. A stream that the change created stays: it
// may hold messages by now.
func (d *Dispatcher) restore(ctx context.Context, failed *change) error {
	errs := []error{d.shared.ensureStreams(ctx)}
	for _, s := range failed.created {
		errs = append(errs, d.shared.js.DeleteConsumer(ctx, s.Stream, s.Consumer))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range d.routes {
		if !r.hasEnded() {
			continue
		}
		again, err := newRunner(d.shared, r.cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		again.inherit(r.route)
		d.start(again)
		d.routes[i] = again
	}
	return errors.Join(errs...)
}

func (r *runner) hasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// replace puts the file and its routes in force.
func (d *Dispatcher) replace(c *routes.Config, next *change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stays := map[string]*runner{}
	for _, r := range next.fresh {
		stays[r.cfg.Name] = r
	}
	for _, old := range next.gone {
		if r := stays[old.cfg.Name]; r != nil {
			r.inherit(old.route)
		} else {
			d.shared.metrics.forget(old.cfg.Name)
		}
	}
	d.shared.current.Store(c)
	d.routes = next.routes
	for _, r := range next.fresh {
		d.start(r)
	}
	named := namedBy(c)
	d.orphans = slices.DeleteFunc(slices.Clone(d.orphans), func(o Orphan) bool { return named[[2]string{o.Stream, o.Consumer}] })
	d.lookForOrphans.Store(true)
}

// inherit takes over the figures of the route's former life, which has ended, and,
// on the same consumer, its position.
func (r *route) inherit(old *route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old.mu.Lock()
	defer old.mu.Unlock()
	r.delivered, r.deliveredAt = old.delivered, old.deliveredAt
	r.failed, r.lastError, r.lastErrorAt = old.failed, old.lastError, old.lastErrorAt
	if r.cfg.Stream == old.cfg.Stream && r.cfg.Consumer.Durable == old.cfg.Consumer.Durable {
		r.info, r.positioned, r.floor, r.streamCreated = old.info, old.positioned, old.floor, old.streamCreated
	}
}

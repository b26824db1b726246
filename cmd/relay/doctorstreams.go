package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/routes"
)

// streams looks at the file against the servers, and at each stream that it names or
// needs.
func (d *doctor) streams(ctx context.Context, js jetstream.JetStream) error {
	streams, err := serverStreams(ctx, js)
	if err != nil {
		return err
	}
	if d.path != "-" { // which was read, and is gone
		c, err := routes.Load([]string{d.path}, routes.Options{CheckFilter: dispatcher.CheckFilter, Streams: streams, Secrets: true})
		var problems routes.Problems
		if err != nil && !errors.As(err, &problems) {
			return err
		}
		if err == nil {
			problems = c.Warnings
		}
		d.problems("routes", "mend the file; relay validate --live shows the place", problems)
	}
	plan, err := dispatcher.NewPlan(ctx, js, d.config)
	if err != nil {
		return err
	}
	d.plan(plan)
	var names []string
	for _, r := range d.config.Routes {
		names = append(names, r.Stream)
	}
	routed := len(names)
	for _, s := range plan.Steps {
		names = append(names, s.Stream)
	}
	most, clock := 0, false
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		before := time.Now()
		stream, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // the plan says so
		}
		if err != nil {
			return fmt.Errorf("look at stream %q: %w", name, err)
		}
		info := stream.CachedInfo()
		if !clock && !info.TimeStamp.IsZero() {
			d.skew("the NATS server", before, info.TimeStamp, time.Now())
			clock = true
		}
		if i < routed {
			most = max(most, info.Config.Replicas)
		}
		d.stream(info, most)
	}
	return nil
}

// plan tells what running the file would do, or not do.
func (d *doctor) plan(plan *dispatcher.Plan) {
	changes, refused := 0, false
	for _, s := range plan.Steps {
		switch s.Action {
		case dispatcher.Refuse:
			refused = true
			d.fail("routes", "", "%s%s: %s", s.Target(), ofRoute(s.Route), s.Note)
		case dispatcher.Recreate:
			d.warn("routes", "relay run --allow-recreate, or put the file back", "%s%s would have to be made anew", s.Target(), ofRoute(s.Route))
		case dispatcher.Create, dispatcher.Update:
			changes++
		case dispatcher.Leave:
		}
	}
	if !refused {
		d.ok("routes", "%s; %d streams or consumers would be made or changed, see relay plan", counted(len(d.config.Routes), "route"), changes)
	}
	for _, o := range plan.Orphans {
		d.warn("orphans", "relay plan --prune removes it, with what it has not delivered",
			"consumer %q of stream %q is left of route %q, which has gone: %d pending", o.Consumer, o.Stream, o.Route, o.NumPending)
	}
}

// stream tells what is risky about one stream. most is how many replicas a routed stream
// has.
func (d *doctor) stream(info *jetstream.StreamInfo, most int) {
	c, before := info.Config, len(d.findings)
	dead := slices.Contains(deadLetterStreams(d.config), c.Name)
	warn := func(mend, format string, args ...any) {
		d.warn("stream", mend, "%s: "+format, append([]any{c.Name}, args...)...)
	}
	if c.Storage == jetstream.MemoryStorage {
		warn("make it anew with storage: file; JetStream cannot change it", "it is kept in memory: a restart of the server loses it")
	}
	switch {
	case c.Replicas < most:
		warn(fmt.Sprintf("nats stream edit %s --replicas %d", c.Name, most), "%s, and a routed stream has %d", counted(c.Replicas, "replica"), most)
	case c.Replicas < 2:
		warn("replicas: 3 on a cluster of three machines, or a backup of the disk", "one replica: it is lost with its disk")
	}
	if info.Cluster != nil {
		for _, peer := range info.Cluster.Replicas {
			if peer.Offline || !peer.Current {
				warn("bring it back; nats stream report shows when it has caught up", "its replica on %s is away or behind", peer.Name)
			}
		}
	}
	for _, limit := range []struct {
		what      string
		used, max float64
	}{{"bytes", float64(info.State.Bytes), float64(c.MaxBytes)}, {"messages", float64(info.State.Msgs), float64(c.MaxMsgs)}} {
		if limit.max > 0 && limit.used > nearlyFull*limit.max && (dead || c.Discard == jetstream.DiscardNew || c.Retention == jetstream.LimitsPolicy) {
			warn("nats stream edit "+c.Name+" raises it", "%.0f of at most %.0f %s", limit.used, limit.max, limit.what)
		}
	}
	if dead && c.Discard != jetstream.DiscardNew {
		warn("nats stream edit "+c.Name+" --discard new: then it pushes back", "when it is full it throws dead letters away")
	}
	if dead && c.Duplicates < min(24*time.Hour, max(c.MaxAge, time.Hour)) {
		warn("nats stream edit "+c.Name+" --dupe-window 24h", "it knows a dead letter again for %s only, so that one may stand in it twice", c.Duplicates)
	}
	if len(d.findings) == before {
		age := "without end"
		if c.MaxAge > 0 {
			age = "for " + c.MaxAge.String()
		}
		d.ok("stream", "%s: %s, %s, %d messages, kept %s", c.Name, strings.ToLower(c.Storage.String()), counted(c.Replicas, "replica"), info.State.Msgs, age)
	}
}

// projection tells how far the database is behind the streams, and whether anybody
// carries.
func (d *doctor) projection(ctx context.Context, js jetstream.JetStream) {
	var lag uint64
	readers, found := 0, false
	names := append(deadLetterStreams(d.config), dlqstore.AttemptsStream)
	for _, name := range names {
		c, err := js.Consumer(ctx, name, dlqstore.ProjectorConsumer)
		if err != nil {
			continue // no relay has run yet
		}
		found = true
		info := c.CachedInfo()
		lag += info.NumPending + uint64(max(info.NumAckPending, 0))
		readers += info.NumWaiting
	}
	switch {
	case !found:
		d.ok("projection", "no relay has carried dead letters into a database yet")
	case lag > 0 && readers == 0:
		d.warn("projection", "start relay run; it catches up by itself", "%d dead letters and attempts are not in the database, and no relay is carrying them", lag)
	case lag > 1000:
		d.warn("projection", "look for \"projection waits\" in relay's log, and at the database", "%d dead letters and attempts are not in the database yet", lag)
	default:
		d.ok("projection", "%d dead letters and attempts wait for the database", lag)
	}
}

package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/routes"
)

const (
	// publishTimeout bounds the wait for a PubAck.
	publishTimeout = 5 * time.Second
	// duplicateWindow is how long a dead-letter stream knows an id again: a settling
	// that was interrupted comes again within AckWait, or after an outage of a day.
	duplicateWindow = 24 * time.Hour
	// attemptsMaxAge is how long an attempt's event waits for the projector.
	attemptsMaxAge = 7 * 24 * time.Hour
	// mostRoutes is how many routes may share the stream of replays.
	mostRoutes = 100_000
	// eventsMaxAge is how long it is known that somebody was told of a route's change.
	eventsMaxAge = 30 * 24 * time.Hour
)

// ensureStreams creates or updates what the file declares and what relay needs for
// itself. It tries all of them and returns all errors.
func (s *shared) ensureStreams(ctx context.Context) error {
	steps, err := newPlanner(s.js, s.file()).streamSteps(ctx)
	errs := []error{err}
	for _, step := range steps {
		errs = append(errs, step.run(ctx, false))
	}
	return errors.Join(errs...)
}

// streamSteps are the steps for the streams of the file and for relay's own.
func (p *planner) streamSteps(ctx context.Context) ([]Step, error) {
	var steps []Step
	for _, st := range p.config.Streams {
		step, err := p.declaredStream(ctx, st)
		if err != nil {
			return steps, err
		}
		steps = append(steps, step)
	}
	replicas, err := p.replicas(ctx)
	if err != nil {
		return steps, err
	}
	for _, want := range ownStreams(p.config, replicas) {
		step, err := p.ownStream(ctx, want)
		if err != nil {
			return steps, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func ownStreams(c *routes.Config, replicas int) []jetstream.StreamConfig {
	streams := deadLetterStreams(c, replicas)
	if tellsSomebody(c) {
		streams = append(streams, jetstream.StreamConfig{
			Name: routes.EventsStream, Subjects: []string{routes.EventsSubjectPrefix + "*.*"},
			Description: "changes of routes that somebody is told of",
			Storage:     jetstream.FileStorage, MaxAge: eventsMaxAge, MaxMsgs: 100_000, MaxMsgsPerSubject: 10, Replicas: replicas,
		})
	}
	return append(streams,
		jetstream.StreamConfig{
			Name: dlqstore.AttemptsStream, Subjects: []string{dlqstore.AttemptsSubjectPrefix + "*"},
			Description: "failed attempts, for the timeline of dead letters",
			Storage:     jetstream.FileStorage, MaxAge: attemptsMaxAge, Replicas: replicas,
		},
		ledgerConfig(replicas),
		advisoriesConfig(replicas),
		jetstream.StreamConfig{
			Name: dlqstore.ReplayStream, Subjects: []string{dlqstore.ReplaySubjectPrefix + "*"},
			Description: "replays of dead letters on their way to one route",
			Storage:     jetstream.FileStorage, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, Duplicates: duplicateWindow, Replicas: replicas,
			// A consumer a route; by default a stream takes 1,000 (measured, nats-server 2.15.2).
			MaxConsumers: mostRoutes,
		})
}

func tellsSomebody(c *routes.Config) bool {
	return slices.ContainsFunc(c.Routes, func(r routes.Route) bool { return r.Notify != nil })
}

func declared(c *routes.Config, name string) (routes.Stream, bool) {
	i := slices.IndexFunc(c.Streams, func(st routes.Stream) bool { return st.Name == name })
	if i < 0 {
		return routes.Stream{}, false
	}
	return c.Streams[i], true
}

// declaredStream is the step that makes a stream what streams: says. Settings that
// the file has no key for stay as they are.
func (p *planner) declaredStream(ctx context.Context, want routes.Stream) (Step, error) {
	s := Step{Action: Create, Stream: want.Name}
	stream, err := p.stream(ctx, want.Name)
	if err != nil {
		return s, err
	}
	if stream == nil {
		next := overlay(jetstream.StreamConfig{Name: want.Name}, want)
		s.Changes = streamChanges(nil, next)
		s.do = func(ctx context.Context) error { _, err := p.js.CreateStream(ctx, next); return err }
		return s, nil
	}
	have := stream.CachedInfo().Config
	next := overlay(have, want)
	s.Changes = streamChanges(&have, next)
	switch {
	case len(s.Changes) == 0:
		s.Action = Leave
	case have.Storage != next.Storage, (have.Retention == jetstream.WorkQueuePolicy) != (next.Retention == jetstream.WorkQueuePolicy):
		s.Action, s.state = Refuse, StateMisconfigured
		s.Note = fmt.Sprintf("JetStream cannot change a stream so (%s): put the file back, or declare a stream of another name", joinChanges(s.Changes))
	default:
		s.Action = Update
		s.do = func(ctx context.Context) error { _, err := p.js.UpdateStream(ctx, next); return err }
	}
	return s, nil
}

// streamChanges lists the settings of streams: that differ from what is there.
func streamChanges(have *jetstream.StreamConfig, want jetstream.StreamConfig) []Change {
	var d differ
	for _, setting := range []struct {
		name string
		text func(c jetstream.StreamConfig) string
	}{
		{"subjects", func(c jetstream.StreamConfig) string { return strings.Join(c.Subjects, ", ") }},
		{"storage", func(c jetstream.StreamConfig) string { return strings.ToLower(c.Storage.String()) }},
		{"retention", func(c jetstream.StreamConfig) string { return strings.ToLower(c.Retention.String()) }},
		{"max_age", func(c jetstream.StreamConfig) string { return inWords(c.MaxAge) }},
		{"max_bytes", func(c jetstream.StreamConfig) string { return strconv.FormatInt(max(c.MaxBytes, 0), 10) }},
		{"replicas", func(c jetstream.StreamConfig) string { return strconv.Itoa(c.Replicas) }},
		{"discard", func(c jetstream.StreamConfig) string {
			return strings.TrimPrefix(strings.ToLower(c.Discard.String()), "discard")
		}},
	} {
		from := ""
		if have != nil {
			from = setting.text(*have)
		}
		d.setting(setting.name, from, setting.text(want))
	}
	return d
}

func overlay(c jetstream.StreamConfig, want routes.Stream) jetstream.StreamConfig {
	c.Subjects, c.MaxAge, c.Replicas = want.Subjects, want.MaxAge, want.Replicas
	c.Storage, c.Retention, c.Discard = jetstream.FileStorage, jetstream.LimitsPolicy, jetstream.DiscardOld
	if want.Storage == routes.StorageMemory {
		c.Storage = jetstream.MemoryStorage
	}
	switch want.Retention {
	case routes.RetentionInterest:
		c.Retention = jetstream.InterestPolicy
	case routes.RetentionWorkQueue:
		c.Retention = jetstream.WorkQueuePolicy
	case routes.RetentionLimits:
	}
	if want.Discard == routes.DiscardNew {
		c.Discard = jetstream.DiscardNew
	}
	c.MaxBytes = -1
	if want.MaxBytes > 0 {
		c.MaxBytes = want.MaxBytes
	}
	return c
}

// deadLetterStreams are the dead-letter streams of all routes. A prefix that two
// streams share is split by route, for JetStream lets no two streams overlap.
func deadLetterStreams(c *routes.Config, replicas int) []jetstream.StreamConfig {
	streamsOf := map[string][]string{} // by prefix
	for _, r := range c.Routes {
		d := r.DeadLetter
		if !slices.Contains(streamsOf[d.SubjectPrefix], d.Stream) {
			streamsOf[d.SubjectPrefix] = append(streamsOf[d.SubjectPrefix], d.Stream)
		}
	}
	var out []jetstream.StreamConfig
	for _, r := range c.Routes {
		d := r.DeadLetter
		subject := d.SubjectPrefix + ".>"
		if len(streamsOf[d.SubjectPrefix]) > 1 {
			subject = d.Subject(r.Name, ">")
		}
		i := slices.IndexFunc(out, func(s jetstream.StreamConfig) bool { return s.Name == d.Stream })
		if i < 0 {
			out = append(out, jetstream.StreamConfig{
				Name: d.Stream, Description: "dead letters of relay",
				Storage: jetstream.FileStorage, MaxAge: d.MaxAge, Replicas: replicas,
				// A full dead-letter stream pushes back: the source keeps its messages.
				Discard: jetstream.DiscardNew, Duplicates: min(duplicateWindow, d.MaxAge),
			})
			i = len(out) - 1
		}
		if !slices.Contains(out[i].Subjects, subject) {
			out[i].Subjects = append(out[i].Subjects, subject)
		}
		out[i].MaxAge = max(out[i].MaxAge, d.MaxAge)
	}
	return out
}

// ownStream is the step for one of relay's own streams. On one that is there it only
// adds the subjects that are missing: another relay, or its operator, may have set the
// rest.
func (p *planner) ownStream(ctx context.Context, want jetstream.StreamConfig) (Step, error) {
	s := Step{Action: Create, Stream: want.Name}
	stream, err := p.stream(ctx, want.Name)
	if err != nil {
		return s, err
	}
	if stream == nil {
		s.Changes = streamChanges(nil, want)
		s.do = func(ctx context.Context) error {
			_, err := p.js.CreateStream(ctx, want)
			if want.Name == advisoriesStream && overlaps(err) {
				return nil // somebody keeps them already; the sweep says what that means
			}
			return err
		}
		return s, nil
	}
	have := stream.CachedInfo().Config
	missing := slices.DeleteFunc(slices.Clone(want.Subjects), func(subject string) bool {
		return slices.ContainsFunc(have.Subjects, func(h string) bool { return routes.Matches(h, subject) })
	})
	if len(missing) == 0 {
		s.Action = Leave
		return s, nil
	}
	next := have
	next.Subjects = slices.Concat(have.Subjects, missing)
	s.Action, s.Changes = Update, streamChanges(&have, next)
	s.do = func(ctx context.Context) error { _, err := p.js.UpdateStream(ctx, next); return err }
	return s, nil
}

func overlaps(err error) bool {
	const subjectsOverlap = 10065 // nats-server's JSStreamSubjectOverlapErr
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == subjectsOverlap
}

// replicas is the largest number of copies that a routed stream has: a dead letter is
// kept as safely as its original.
func (p *planner) replicas(ctx context.Context) (int, error) {
	most := 1
	for _, r := range p.config.Routes {
		if st, ok := declared(p.config, r.Stream); ok {
			most = max(most, st.Replicas)
			continue
		}
		stream, err := p.stream(ctx, r.Stream)
		if err != nil {
			return 0, err
		}
		if stream != nil {
			most = max(most, stream.CachedInfo().Config.Replicas)
		}
	}
	return most, nil
}

// say logs the streams' trouble once a change.
func (s *shared) say(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	before := s.streamTrouble
	s.streamTrouble = text
	s.mu.Unlock()
	switch {
	case text == before:
	case text != "":
		s.log.Error("streams are not as they should be", "err", text)
	default:
		s.log.Info("streams are as they should be")
	}
}

package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
)

// ensureStreams creates or updates what the file declares and what relay needs for
// itself. It tries all of them and returns all errors.
func (s *shared) ensureStreams(ctx context.Context) error {
	var errs []error
	for _, st := range s.config.Streams {
		if _, err := s.ensureStream(ctx, st); err != nil {
			errs = append(errs, err)
		}
	}
	replicas := s.replicas(ctx)
	own := append(deadLetterStreams(s.config, replicas),
		jetstream.StreamConfig{
			Name: dlqstore.AttemptsStream, Subjects: []string{dlqstore.AttemptsSubjectPrefix + "*"},
			Description: "failed attempts, for the timeline of dead letters",
			Storage:     jetstream.FileStorage, MaxAge: attemptsMaxAge, Replicas: replicas,
		},
		jetstream.StreamConfig{
			Name: dlqstore.ReplayStream, Subjects: []string{dlqstore.ReplaySubjectPrefix + "*"},
			Description: "replays of dead letters on their way to one route",
			Storage:     jetstream.FileStorage, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, Duplicates: duplicateWindow, Replicas: replicas,
		})
	for _, cfg := range own {
		if err := s.ensureOwn(ctx, cfg); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *shared) declared(name string) (routes.Stream, bool) {
	i := slices.IndexFunc(s.config.Streams, func(st routes.Stream) bool { return st.Name == name })
	if i < 0 {
		return routes.Stream{}, false
	}
	return s.config.Streams[i], true
}

// ensureStream makes a stream what streams: says. Settings that the file has no key
// for stay as they are.
func (s *shared) ensureStream(ctx context.Context, want routes.Stream) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.js.CreateStream(ctx, overlay(jetstream.StreamConfig{Name: want.Name}, want))
		if err != nil {
			return nil, fmt.Errorf("create stream %q: %w", want.Name, err)
		}
		return stream, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at stream %q: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	next := overlay(have, want)
	if sameStream(have, next) {
		return stream, nil
	}
	stream, err = s.js.UpdateStream(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("update stream %q to what streams: says: %w", want.Name, err)
	}
	return stream, nil
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

func sameStream(a, b jetstream.StreamConfig) bool {
	return slices.Equal(a.Subjects, b.Subjects) && a.MaxAge == b.MaxAge && a.Replicas == b.Replicas &&
		a.Storage == b.Storage && a.Retention == b.Retention && a.Discard == b.Discard && a.MaxBytes == b.MaxBytes
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

// ensureOwn creates one of relay's own streams. On one that is there it only adds the
// subjects that are missing: another relay, or its operator, may have set the rest.
func (s *shared) ensureOwn(ctx context.Context, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err := s.js.CreateStream(ctx, want); err != nil {
			return fmt.Errorf("create relay's stream %q: %w", want.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at relay's stream %q: %w", want.Name, err)
	}
	have := stream.CachedInfo().Config
	missing := slices.DeleteFunc(slices.Clone(want.Subjects), func(subject string) bool {
		return slices.ContainsFunc(have.Subjects, func(h string) bool { return routes.Matches(h, subject) })
	})
	if len(missing) == 0 {
		return nil
	}
	have.Subjects = append(have.Subjects, missing...)
	if _, err := s.js.UpdateStream(ctx, have); err != nil {
		return fmt.Errorf("add the subjects %q to relay's stream %q: %w", missing, want.Name, err)
	}
	return nil
}

// replicas is the largest number of copies that a routed stream has: a dead letter is
// kept as safely as its original.
func (s *shared) replicas(ctx context.Context) int {
	most, seen := 1, map[string]bool{}
	for _, r := range s.config.Routes {
		if seen[r.Stream] {
			continue
		}
		seen[r.Stream] = true
		if st, err := s.js.Stream(ctx, r.Stream); err == nil {
			most = max(most, st.CachedInfo().Config.Replicas)
		}
	}
	return most
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

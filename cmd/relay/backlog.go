package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dispatcher"
)

// backlog knows how old the oldest message is that a route has not settled.
type backlog struct {
	js     jetstream.JetStream
	status func() []dispatcher.Status
	log    *slog.Logger

	mu   sync.Mutex
	seen map[string]oldest // by route
}

// oldest is when the first message after a position was stored.
type oldest struct {
	position uint64
	at       time.Time
}

// Paces of the look: none at a route whose position has not changed, and so many in a
// round that a thousand of them cost little.
const (
	backlogEvery   = 10 * time.Second
	backlogAtMost  = 50
	backlogTimeout = 2 * time.Second
)

// Run looks until ctx ends.
func (b *backlog) Run(ctx context.Context) error {
	tick := time.NewTicker(backlogEvery)
	defer tick.Stop()
	for from := 0; ; {
		all := b.status()
		for n := 0; n < len(all) && n < backlogAtMost && ctx.Err() == nil; n++ {
			b.look(ctx, all[from%len(all)])
			from++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look reads the first message of a route that is not settled, if there is one.
func (b *backlog) look(ctx context.Context, s dispatcher.Status) {
	if s.NumPending == 0 && s.NumAckPending == 0 || b.oldest(s) != (time.Time{}) {
		return
	}
	at, err := b.first(ctx, s)
	if err != nil {
		b.log.Debug("oldest pending message not looked at", "route", s.Route.Name, "err", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen[s.Route.Name] = oldest{s.Position, at}
}

// first is when the first message after the route's position was stored; zero when there
// is none.
func (b *backlog) first(ctx context.Context, s dispatcher.Status) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, backlogTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, s.Route.Stream)
	if err != nil {
		return at, err
	}
	for _, subject := range s.Route.FilterSubjects {
		m, err := stream.GetMsg(ctx, s.Position+1, jetstream.WithGetMsgSubject(subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return at, err
		case at.IsZero() || m.Time.Before(at):
			at = m.Time
		}
	}
	return at, nil
}

// oldest is when the oldest unsettled message was stored, as last looked at; zero when
// it is not known, or has been settled since.
func (b *backlog) oldest(s dispatcher.Status) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.seen[s.Route.Name]; o.position == s.Position {
		return o.at
	}
	return time.Time{}
}

package dlqstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/failpoint"
)

const (
	// replayPoll is how often replays that another process started, or that were
	// started before a crash, are looked for.
	replayPoll = 5 * time.Second
	// replayBatch is how many replays are in memory at once, if their payloads are small.
	replayBatch = 128
)

// ReplayerOptions are the settings of a Replayer. JetStream and Store are required.
type ReplayerOptions struct {
	JetStream jetstream.JetStream
	Store     Store
	// Logger tells when replays cannot be sent and when they can again. Nil: nothing
	// is logged.
	Logger *slog.Logger
}

// Replayer advances the replay jobs and hands the replays that were started in the
// Store to the replay lane. The table is its outbox: a replay stays pending until the
// lane holds it, and a second hand-over is a duplicate that JetStream drops.
type Replayer struct {
	js    jetstream.JetStream
	store Store
	log   *slog.Logger
	wake  chan struct{}
}

// NewReplayer makes a Replayer; Run starts it.
func NewReplayer(o ReplayerOptions) (*Replayer, error) {
	if o.JetStream == nil || o.Store == nil {
		return nil, errors.New("replayer: JetStream and Store are required")
	}
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &Replayer{js: o.JetStream, store: o.Store, log: log, wake: make(chan struct{}, 1)}, nil
}

// Wake makes Run look for pending replays now. It never blocks and may be called at
// any time from any goroutine.
func (r *Replayer) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// Run sends pending replays until ctx ends, and returns nil then.
func (r *Replayer) Run(ctx context.Context) error {
	wait := newRetryWait()
	waiting := false
	for {
		pause := replayPoll
		if next, err := r.step(ctx); err == nil {
			wait.Reset()
			if next > 0 {
				pause = min(pause, next)
			}
			if waiting {
				waiting = false
				r.log.Info("replays resumed")
			}
		} else {
			pause = wait.NextBackOff()
			if !waiting && ctx.Err() == nil {
				waiting = true
				r.log.Warn("replays wait", "err", err)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// step starts the replays of jobs that are due and sends all that are pending. It says
// when jobs want to be looked at again; 0: there are none.
func (r *Replayer) step(ctx context.Context) (time.Duration, error) {
	next, err := r.store.AdvanceJobs(ctx)
	if err != nil {
		return 0, err
	}
	return next, r.sendPending(ctx)
}

// sendPending sends until nothing is pending. A replay that the lane refuses does not
// keep the others of its batch from going.
func (r *Replayer) sendPending(ctx context.Context) error {
	for {
		pending, err := r.store.PendingReplays(ctx, replayBatch)
		if err != nil || len(pending) == 0 {
			return err
		}
		sent, refused := r.sendAll(ctx, pending)
		if len(sent) > 0 {
			if err := r.store.MarkReplaySent(ctx, sent...); err != nil {
				return err
			}
		}
		if refused != nil {
			return refused
		}
	}
}

// sendAll sends the replays side by side. It returns those that the lane took, and one
// of the errors of the others.
func (r *Replayer) sendAll(ctx context.Context, replays []Replay) (sent []Replay, err error) {
	errs := make([]error, len(replays))
	var all sync.WaitGroup
	for i, replay := range replays {
		all.Go(func() { errs[i] = r.send(ctx, replay) })
	}
	all.Wait()
	for i, replay := range replays {
		if errs[i] == nil {
			sent = append(sent, replay)
		} else {
			err = errs[i]
		}
	}
	return sent, err
}

func (r *Replayer) send(ctx context.Context, replay Replay) error {
	publishing, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := r.js.PublishMsg(publishing, replay.Encode())
	if tooLarge(err) {
		_, err = r.js.PublishMsg(publishing, replay.Reference())
	}
	if err != nil {
		return fmt.Errorf("hand replay %d of %s to the replay lane: %w", replay.Number, replay.ID, err)
	}
	failpoint.Hit(failpoint.Offered)
	return nil
}

// tooLarge says that the message is above max_payload of the server or above the
// limit of the stream.
func tooLarge(err error) bool {
	const exceedsMaximum = 10054 // nats-server's JSStreamMessageExceedsMaximumErr
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == exceedsMaximum
}

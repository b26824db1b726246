package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// lostAfter is how long ago the lane took a replay before its absence is looked into.
const lostAfter = time.Minute

// watchLost looks for lost replays until ctx ends.
func (p *Projector) watchLost(ctx context.Context) {
	for ; ctx.Err() == nil; sleep(ctx, watchInterval) {
		if err := p.sweepLost(ctx); err != nil {
			p.log.Debug("lost replays not looked for", "err", err) // follow tells of outages
		}
	}
}

// sweepLost finds replays that the lane took and lost, because its stream was deleted
// or purged or came back from a backup, and starts them anew.
//
// The lane forgets a replay only after the stream of attempts or that of dead letters
// holds its outcome. So a replay was lost if the lane has nothing for the route and
// then, after that was seen, all outcomes are in the table and its own is not.
func (p *Projector) sweepLost(ctx context.Context) error {
	before := time.Now().Add(-lostAfter)
	routes, err := p.store.OverdueReplays(ctx, before)
	if err != nil {
		return err
	}
	for _, route := range routes {
		empty, err := p.laneIsEmpty(ctx, route)
		if err != nil {
			return err
		}
		if !empty || !p.caughtUp(ctx) {
			continue
		}
		n, err := p.store.ResendReplays(ctx, route, before)
		if err != nil {
			return err
		}
		if n > 0 {
			p.log.Warn("replays were lost from the replay lane and go out again", "route", route, "count", n)
		}
	}
	return nil
}

func (p *Projector) laneIsEmpty(ctx context.Context, route string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := p.js.Stream(ctx, ReplayStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the replay lane: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(ReplaySubjectPrefix+route))
	if err != nil {
		return false, fmt.Errorf("look into the replay lane: %w", err)
	}
	return len(info.State.Subjects) == 0, nil
}

// caughtUp says whether the table holds all that the streams do.
func (p *Projector) caughtUp(ctx context.Context) bool {
	for _, stream := range p.streams {
		n, err := p.pending(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil || n > 0 {
			return false
		}
	}
	return true
}

func (s *store) OverdueReplays(ctx context.Context, sentBefore time.Time) ([]string, error) {
	const overdue = `SELECT DISTINCT route FROM dead_letters
		WHERE state = 'replaying' AND replay_sent_at IS NOT NULL AND replay_sent_at < $1 ORDER BY route`
	rows, err := s.read.QueryContext(ctx, overdue, formatStamp(sentBefore))
	routes, err := collect(rows, err, scanString)
	if err != nil {
		return nil, fmt.Errorf("look for overdue replays: %w", err)
	}
	return routes, nil
}

func (s *store) ResendReplays(ctx context.Context, route string, sentBefore time.Time) (int, error) {
	var resent []auditRow
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		// Under a new number: the stream may still take the old one for a duplicate.
		const resend = `UPDATE dead_letters SET replay_count = replay_count + 1, replay_sent_at = NULL
			WHERE route = $1 AND state = 'replaying' AND replay_sent_at IS NOT NULL AND replay_sent_at < $2
			RETURNING id, replay_count`
		rows, err := tx.QueryContext(ctx, resend, route, formatStamp(sentBefore))
		var ids []string
		resent, err = collect(rows, err, func(s scanner) (auditRow, error) {
			a, err := scanReplay(ActionResend, s)
			ids = append(ids, a.id)
			return a, err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		//nolint:gosec // constants only
		items := `UPDATE replay_items SET replay = replay + 1
			WHERE job IN (SELECT number FROM replay_jobs WHERE finished_at IS NULL) AND state = 'sent'
				AND ` + fmt.Sprintf(s.dialect.isOneOf, "dead_letter_id", 1)
		if _, err := tx.ExecContext(ctx, items, string(mustJSON(ids))); err != nil {
			return err
		}
		return s.audit(ctx, tx, resent...)
	})
	if err != nil {
		return 0, fmt.Errorf("send lost replays of route %q again: %w", route, err)
	}
	return len(resent), nil
}

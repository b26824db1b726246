package dlqstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// settledFor is how long what needs nobody any more is kept: dead letters that were
	// delivered or discarded, finished replay jobs, and attempts of deliveries that
	// have no dead letter.
	settledFor = 30 * 24 * time.Hour
	// pruneBatch is how many rows one transaction deletes at most.
	pruneBatch    = 1000
	pruneInterval = time.Hour
)

// Retention is how long the table keeps dead letters that nobody settled.
type Retention struct {
	// Default is for routes that are not in Routes, former ones among them. 0: for ever.
	Default time.Duration
	Routes  map[string]time.Duration
}

// PrunerOptions are the settings of a Pruner. Store and Retention are required.
type PrunerOptions struct {
	Store Store
	// Retention is asked before each round, so that it may change.
	Retention func() Retention
	// Logger tells what was pruned, and when it cannot be. Nil: nothing is logged.
	Logger *slog.Logger
}

// Pruner deletes what was kept for long enough. Several processes may prune at once.
type Pruner struct{ o PrunerOptions }

// NewPruner makes a Pruner; Run starts it.
func NewPruner(o PrunerOptions) (*Pruner, error) {
	if o.Store == nil || o.Retention == nil {
		return nil, errors.New("pruner: Store and Retention are required")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &Pruner{o}, nil
}

// Run prunes at its start and every hour until ctx ends, and returns nil then.
func (p *Pruner) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := p.o.Store.Prune(ctx, p.o.Retention(), time.Now())
		if n > 0 {
			p.o.Logger.Info("old rows pruned", "count", n)
		}
		if err != nil && ctx.Err() == nil {
			p.o.Logger.Warn("old rows stay until the next round", "err", err)
		}
		sleep(ctx, pruneInterval)
	}
	return nil
}

func (s *store) Prune(ctx context.Context, keep Retention, now time.Time) (int, error) {
	total := 0
	for _, prune := range s.prunes(keep, now) {
		for more := true; more; {
			n, err := prune(ctx)
			if err != nil {
				return total, fmt.Errorf("prune: %w", err)
			}
			total += n
			more = n > 0
		}
	}
	return total, nil
}

// prunes are what deletes a batch of each kind.
func (s *store) prunes(keep Retention, now time.Time) []func(context.Context) (int, error) {
	settled := now.Add(-settledFor)
	list := []func(context.Context) (int, error){
		func(ctx context.Context) (int, error) {
			w := &conditions{}
			w.add(`state IN ('delivered', 'discarded')`)
			w.add(`changed_at < ` + w.arg(formatStamp(settled)))
			return s.pruneLetters(ctx, w, "changed_at")
		},
		func(ctx context.Context) (int, error) { return s.pruneAttempts(ctx, settled) },
		func(ctx context.Context) (int, error) { return s.pruneJobs(ctx, settled) },
	}
	named := make([]string, 0, len(keep.Routes))
	for route, age := range keep.Routes {
		named = append(named, route)
		if age > 0 {
			list = append(list, func(ctx context.Context) (int, error) {
				w := s.where(Filter{State: Dead, Route: route, Until: now.Add(-age)})
				return s.pruneLetters(ctx, w, "failed_at")
			})
		}
	}
	if keep.Default > 0 {
		list = append(list, func(ctx context.Context) (int, error) {
			w := s.where(Filter{State: Dead, Until: now.Add(-keep.Default)})
			w.add(`NOT ` + fmt.Sprintf(s.dialect.isOneOf, "route", w.number(string(mustJSON(named)))))
			return s.pruneLetters(ctx, w, "failed_at")
		})
	}
	return list
}

// pruneLetters deletes a batch of dead letters with their attempts, the oldest first. It
// locks what it chose: what somebody replays or restores at this moment stays.
func (s *store) pruneLetters(ctx context.Context, w *conditions, age string) (int, error) {
	//nolint:gosec // constants and the numbers of parameters
	remove := `DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters` + w.sql() +
		` ORDER BY ` + age + ` LIMIT ` + w.arg(pruneBatch) + ` ` + s.dialect.forUpdate + `) RETURNING id`
	//nolint:gosec // constants only
	attempts := `DELETE FROM dead_letter_attempts WHERE ` + fmt.Sprintf(s.dialect.isOneOf, "id", 1)
	var ids []string
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, remove, w.args...)
		if ids, err = collect(rows, err, scanString); err != nil || len(ids) == 0 {
			return err
		}
		if _, err := tx.ExecContext(ctx, attempts, string(mustJSON(ids))); err != nil {
			return err
		}
		return s.audit(ctx, tx, auditRow{action: ActionPrune, detail: map[string]any{"count": len(ids)}})
	})
	return len(ids), err
}

// pruneAttempts deletes a batch of attempts of deliveries that got through in the end.
func (s *store) pruneAttempts(ctx context.Context, before time.Time) (int, error) {
	const remove = `DELETE FROM dead_letter_attempts WHERE (id, replay, number) IN (
		SELECT id, replay, number FROM dead_letter_attempts AS a
		WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.id = a.id)
		ORDER BY at LIMIT $2)`
	return affected(s.write.ExecContext(ctx, remove, formatStamp(before), pruneBatch))
}

func (s *store) pruneJobs(ctx context.Context, before time.Time) (int, error) {
	const remove = `DELETE FROM replay_jobs WHERE number IN (
		SELECT number FROM replay_jobs WHERE finished_at < $1 ORDER BY finished_at LIMIT 1)`
	return affected(s.write.ExecContext(ctx, remove, formatStamp(before)))
}

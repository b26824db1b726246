package dlqstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"
)

// UnfitError says that a dead letter can never become a row of the table.
type UnfitError struct {
	ID     string
	Reason string
}

// Error names the dead letter and what is wrong with it.
func (e *UnfitError) Error() string { return "dead letter " + e.ID + ": " + e.Reason }

// Import needs no lock of the projector's: what is there already is left alone.
func (s *store) Import(ctx context.Context, letters []DeadLetter, by Actor) (int, error) {
	const insert = insertRow + ` ON CONFLICT (id) DO NOTHING`
	var imported []auditRow
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		for _, d := range letters {
			d.State, d.ReplayCount, d.ChangedBy, d.ChangedAt = Dead, 0, by.Name, time.Now()
			if err := (Record{DeadLetter: d}).check(); err != nil {
				return &UnfitError{d.ID, err.Error()}
			}
			n, err := affected(tx.ExecContext(ctx, insert, row{DeadLetter: d, family: cmp.Or(d.ReplayOf, d.ID)}.values()...))
			if err != nil && s.refused(err) {
				return &UnfitError{d.ID, err.Error()}
			}
			if err != nil {
				return err
			}
			if n > 0 {
				imported = append(imported, auditRow{action: ActionImport, id: d.ID, by: by})
			}
		}
		if err := joinFamilies(ctx, tx); err != nil {
			return err
		}
		return s.audit(ctx, tx, imported...)
	})
	if err != nil {
		return 0, fmt.Errorf("import dead letters: %w", err)
	}
	return len(imported), nil
}

// joinFamilies brings copies of copies that came without their families into that of the
// first original. Until then their family is what they are a copy of, which may come later.
// It looks at all edited copies: people made them, and they are few.
func joinFamilies(ctx context.Context, tx *sql.Tx) error {
	const join = `UPDATE dead_letters SET family = o.family FROM dead_letters AS o
		WHERE dead_letters.replay_of IS NOT NULL AND o.id = dead_letters.family AND o.family <> o.id`
	for range 64 { // each halves the way to the first; a circle, which relay does not make, has no end
		if n, err := affected(tx.ExecContext(ctx, join)); err != nil || n == 0 {
			return err
		}
	}
	return nil
}

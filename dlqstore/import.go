package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	// An edited copy joins the family of its original.
	letters = slices.Clone(letters)
	slices.SortStableFunc(letters, func(a, b DeadLetter) int { return boolOrder(a.ReplayOf != "", b.ReplayOf != "") })
	var imported []auditRow
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		for _, d := range letters {
			d.State, d.ReplayCount, d.ChangedBy, d.ChangedAt = Dead, 0, by.Name, time.Now()
			if err := (Record{DeadLetter: d}).check(); err != nil {
				return &UnfitError{d.ID, err.Error()}
			}
			family, err := familyOf(ctx, tx, d)
			if err != nil {
				return err
			}
			n, err := affected(tx.ExecContext(ctx, insert, row{DeadLetter: d, family: family}.values()...))
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
		return s.audit(ctx, tx, imported...)
	})
	if err != nil {
		return 0, fmt.Errorf("import dead letters: %w", err)
	}
	return len(imported), nil
}

func familyOf(ctx context.Context, tx *sql.Tx, d DeadLetter) (string, error) {
	if d.ReplayOf == "" {
		return d.ID, nil
	}
	const query = `SELECT family FROM dead_letters WHERE id = $1`
	var family string
	err := tx.QueryRowContext(ctx, query, d.ReplayOf).Scan(&family)
	if errors.Is(err, sql.ErrNoRows) {
		return d.ReplayOf, nil
	}
	return family, err
}

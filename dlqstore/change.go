package dlqstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

func (s *store) StartReplay(ctx context.Context, id string, edit *Edit, by Actor) (Replay, error) {
	var r Replay
	err := s.inFamily(ctx, "start a replay", id, Dead, true, func(tx *sql.Tx) (err error) {
		if edit == nil {
			r, err = s.startPlain(ctx, tx, id, by)
		} else {
			r, err = s.startEdited(ctx, tx, id, *edit, by)
		}
		return err
	})
	if err != nil {
		return Replay{}, err
	}
	return r, nil
}

func (s *store) startPlain(ctx context.Context, tx *sql.Tx, id string, by Actor) (Replay, error) {
	const start = `UPDATE dead_letters
		SET state = 'replaying', replay_count = replay_count + 1, replay_sent_at = NULL, changed_by = $2, changed_at = $3
		WHERE id = $1
		RETURNING ` + selectColumns
	d, err := scanDeadLetter(tx.QueryRowContext(ctx, start, id, cleanText(by.Name), formatStamp(time.Now())))
	if err != nil {
		return Replay{}, err
	}
	detail := map[string]any{"replay": d.ReplayCount}
	return Replay{DeadLetter: d, Number: d.ReplayCount}, s.audit(ctx, tx, auditRow{action: ActionReplay, id: id, by: by, detail: detail})
}

// startEdited discards the dead letter in favour of an edited copy of it.
func (s *store) startEdited(ctx context.Context, tx *sql.Tx, id string, edit Edit, by Actor) (Replay, error) {
	const supersede = `UPDATE dead_letters
		SET state = 'discarded', replay_count = replay_count + 1, changed_by = $2, changed_at = $3
		WHERE id = $1
		RETURNING ` + selectColumns + `, family`
	var family string
	now := time.Now()
	original, err := scanDeadLetter(withFamily{tx.QueryRowContext(ctx, supersede, id, cleanText(by.Name), formatStamp(now)), &family})
	if err != nil {
		return Replay{}, err
	}

	copied := row{DeadLetter: original, family: family}
	copied.ID = editedID(original, edit)
	copied.Payload, copied.Headers = edit.Payload, edit.Headers
	copied.ReplayOf, copied.State, copied.ReplayCount, copied.DiscardReason = id, Replaying, 1, ""
	if _, err := tx.ExecContext(ctx, insertRow, copied.values()...); err != nil {
		return Replay{}, fmt.Errorf("write the edited copy: %w", err)
	}

	const explain = `UPDATE dead_letters SET discard_reason = $2 WHERE id = $1`
	reason := "replaced by the edited copy " + copied.ID
	if _, err := tx.ExecContext(ctx, explain, id, reason); err != nil {
		return Replay{}, err
	}
	err = s.audit(ctx, tx, auditRow{
		action: ActionEdit, id: id, by: by, before: sha256Hex(original.Payload), after: sha256Hex(edit.Payload),
		detail: map[string]any{"copy": copied.ID},
	})
	return Replay{DeadLetter: copied.DeadLetter, Number: 1}, err
}

// withFamily reads the family behind the columns of a dead letter.
type withFamily struct {
	scanner
	family *string
}

func (w withFamily) Scan(dest ...any) error { return w.scanner.Scan(append(dest, w.family)...) }

// editedID is the identity of an edited copy: the same edit made a second time is
// another delivery, which the count of replays tells apart.
func editedID(original DeadLetter, edit Edit) string {
	var buf []byte
	buf = append(buf, original.ID...)
	buf = append(buf, 0)
	buf = strconv.AppendInt(buf, int64(original.ReplayCount), 10)
	buf = append(buf, 0)
	buf = append(buf, ExactHeaders(edit.Headers)...)
	buf = append(buf, 0)
	buf = append(buf, edit.Payload...)
	return idOf(buf)
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (s *store) PendingReplays(ctx context.Context, limit int) ([]Replay, error) {
	const pending = `SELECT ` + selectColumns + ` FROM dead_letters
		WHERE state = 'replaying' AND replay_sent_at IS NULL
		ORDER BY changed_at, id LIMIT $1`
	rows, err := s.read.QueryContext(ctx, pending, limit)
	page, err := readPage(rows, err, limit)
	if err != nil {
		return nil, fmt.Errorf("list pending replays: %w", err)
	}
	list := make([]Replay, len(page.DeadLetters))
	for i, d := range page.DeadLetters {
		list[i] = Replay{DeadLetter: d, Number: d.ReplayCount}
	}
	return list, nil
}

func (s *store) MarkReplaySent(ctx context.Context, replays ...Replay) error {
	sent := make([]map[string]any, len(replays))
	for i, r := range replays {
		sent[i] = map[string]any{"id": r.ID, "replay": r.Number}
	}
	//nolint:gosec // constants only
	mark := `UPDATE dead_letters SET replay_sent_at = $2 FROM ` + fmt.Sprintf(s.dialect.elements, 1) + ` AS sent
		WHERE dead_letters.id = value ->> 'id' AND replay_count = CAST(value ->> 'replay' AS integer) AND replay_sent_at IS NULL`
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		// The projector, which may hear of their ends already, locks rows in another order.
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, mark, string(mustJSON(sent)), formatStamp(time.Now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark %d replays as sent: %w", len(replays), err)
	}
	return nil
}

func (s *store) Discard(ctx context.Context, id, reason string, by Actor) error {
	return s.inFamily(ctx, "discard", id, Dead, false, func(tx *sql.Tx) error {
		return s.move(ctx, tx, Discarded, auditRow{action: ActionDiscard, id: id, by: by, reason: reason})
	})
}

func (s *store) Restore(ctx context.Context, id string, by Actor) error {
	return s.inFamily(ctx, "restore", id, Discarded, true, func(tx *sql.Tx) error {
		return s.move(ctx, tx, Dead, auditRow{action: ActionRestore, id: id, by: by})
	})
}

// inFamily changes a dead letter that is in the state, while nobody else changes one of
// its family. Alone asks that the others of it are discarded.
func (s *store) inFamily(ctx context.Context, what, id string, state State, alone bool, change func(*sql.Tx) error) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		family, err := s.lockFamily(ctx, tx, id)
		if err == nil {
			err = family.is(id, state)
		}
		if err == nil && alone {
			err = family.onlyOne(id)
		}
		if err != nil {
			return err
		}
		return change(tx)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// move brings a dead letter from one of the two states dead and discarded to the other.
func (s *store) move(ctx context.Context, tx *sql.Tx, to State, a auditRow) error {
	const update = `UPDATE dead_letters SET state = $2, discard_reason = $3, changed_by = $4, changed_at = $5 WHERE id = $1`
	_, err := tx.ExecContext(ctx, update, a.id, string(to), cleanText(a.reason), cleanText(a.by.Name), formatStamp(time.Now()))
	if err != nil {
		return err
	}
	return s.audit(ctx, tx, a)
}

// standing is where the members of a family stand: an original and its edited copies.
type standing []StateError

// lockFamily locks a dead letter with its family.
func (s *store) lockFamily(ctx context.Context, tx *sql.Tx, id string) (standing, error) {
	if !plainID(id) {
		return nil, ErrNotFound
	}
	const familyOf = `SELECT family FROM dead_letters WHERE id = $1`
	var family string
	if err := tx.QueryRowContext(ctx, familyOf, id).Scan(&family); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return nil, ErrNotFound
		}
		return nil, err
	}
	//nolint:gosec // constants only
	members := `SELECT id, state, changed_by, changed_at FROM dead_letters
		WHERE id = $1 OR family = $1 AND replay_of IS NOT NULL
		ORDER BY id ` + s.dialect.forUpdate
	rows, err := tx.QueryContext(ctx, members, family)
	return collect(rows, err, func(s scanner) (e StateError, err error) {
		err = s.Scan(&e.ID, &e.State, &e.Actor, (*stamp)(&e.At))
		return e, err
	})
}

// is checks that the dead letter is in the state. It may have been pruned before its
// family was locked.
func (f standing) is(id string, state State) error {
	i := slices.IndexFunc(f, func(e StateError) bool { return e.ID == id })
	switch {
	case i < 0:
		return ErrNotFound
	case f[i].State != state:
		return &f[i]
	default:
		return nil
	}
}

// onlyOne checks that all of the family but this one are discarded, so that it may go
// out, or may be brought back to where it could.
func (f standing) onlyOne(id string) error {
	for _, e := range f {
		if e.ID != id && e.State != Discarded {
			return &e
		}
	}
	return nil
}

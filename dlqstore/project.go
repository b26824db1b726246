package dlqstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"relay/internal/failpoint"
)

func (s *store) Project(ctx context.Context, b Batch) error {
	// A reference stands behind the record that brings its payload.
	records := slices.DeleteFunc(slices.Clone(b.DeadLetters), func(r Record) bool { return r.Reference })
	for _, r := range b.DeadLetters {
		if r.Reference {
			records = append(records, r)
		}
	}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		for _, u := range b.Unreadable {
			if err := s.quarantine(ctx, tx, u); err != nil {
				return err
			}
		}
		if err := s.projectPart(ctx, tx, records, b.Attempts); err != nil {
			return err
		}
		if err := s.compactCounts(ctx, tx); err != nil {
			return err
		}
		failpoint.Hit(failpoint.Projected)
		return nil
	})
	if err != nil {
		return fmt.Errorf("project %d dead letters and %d attempts: %w", len(b.DeadLetters), len(b.Attempts), err)
	}
	return nil
}

// projectPart writes all, or, when the database takes offence at one of them, halves
// of it, until the one is found and quarantined.
func (s *store) projectPart(ctx context.Context, tx *sql.Tx, records []Record, attempts []Attempt) error {
	if len(records)+len(attempts) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT part`); err != nil {
		return err
	}
	refusal := s.writePart(ctx, tx, records, attempts)
	if refusal != nil {
		if !s.refused(refusal) {
			return refusal
		}
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT part`); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `RELEASE SAVEPOINT part`); err != nil || refusal == nil {
		return err
	}
	switch r, a := len(records), len(attempts); {
	case r == 1 && a == 0:
		return s.quarantine(ctx, tx, refusedRecord(records[0], refusal))
	case r == 0 && a == 1:
		return s.quarantine(ctx, tx, refusedAttempt(attempts[0], refusal))
	case r > 0 && a > 0:
		return s.projectBoth(ctx, tx, records, nil, nil, attempts)
	default:
		return s.projectBoth(ctx, tx, records[:r/2], attempts[:a/2], records[r/2:], attempts[a/2:])
	}
}

func (s *store) projectBoth(ctx context.Context, tx *sql.Tx, r1 []Record, a1 []Attempt, r2 []Record, a2 []Attempt) error {
	if err := s.projectPart(ctx, tx, r1, a1); err != nil {
		return err
	}
	return s.projectPart(ctx, tx, r2, a2)
}

func (s *store) refused(err error) bool {
	var unfit unfitError
	return errors.As(err, &unfit) || s.dialect.refused(err)
}

func (s *store) writePart(ctx context.Context, tx *sql.Tx, records []Record, attempts []Attempt) error {
	for _, r := range records {
		if err := r.check(); err != nil {
			return err
		}
	}
	for _, a := range attempts {
		if err := a.check(); err != nil {
			return err
		}
	}
	rows := rowsOf(records)
	if err := s.checkReferences(ctx, tx, rows); err != nil {
		return err
	}
	if len(rows) > 0 {
		if err := s.dialect.insertMany(ctx, tx, s.dialect.upsertRows, valuesOf(rows, row.values)); err != nil {
			return fmt.Errorf("write dead letters: %w", err)
		}
	}
	if len(attempts) > 0 {
		if err := s.dialect.insertMany(ctx, tx, s.dialect.insertAttempts, valuesOf(attempts, attemptValues)); err != nil {
			return fmt.Errorf("write attempts: %w", err)
		}
	}
	return s.settle(ctx, tx, idsOf(rows, attempts))
}

func valuesOf[T any](list []T, values func(T) []any) [][]any {
	rows := make([][]any, len(list))
	for i, v := range list {
		rows[i] = values(v)
	}
	return rows
}

// rowsOf makes one row of all records of a delivery: the payload of whichever has it,
// the cause of the last death.
func rowsOf(records []Record) []row {
	rows := make([]row, 0, len(records))
	byID := make(map[string]int, len(records))
	for _, r := range records {
		next := row{DeadLetter: r.DeadLetter, family: cmp.Or(r.ReplayOf, r.ID), diedIn: r.Replay, reference: r.Reference}
		next.State, next.ReplayCount, next.ChangedBy, next.ChangedAt = Dead, r.Replay, "", r.FailedAt
		i, seen := byID[r.ID]
		if !seen {
			byID[r.ID] = len(rows)
			rows = append(rows, next)
			continue
		}
		other := rows[i]
		if other.diedIn >= next.diedIn {
			next, other = other, next
		}
		if next.reference && !other.reference {
			next.Payload, next.Headers, next.reference = other.Payload, other.Headers, false
		}
		rows[i] = next
	}
	return rows
}

// checkReferences sees to it that a row without payload finds one in the table.
func (s *store) checkReferences(ctx context.Context, tx *sql.Tx, rows []row) error {
	var want []string
	for _, r := range rows {
		if r.reference {
			want = append(want, r.ID)
		}
	}
	if want == nil {
		return nil
	}
	//nolint:gosec // constants only
	query := `SELECT id FROM dead_letters WHERE ` + fmt.Sprintf(s.dialect.isOneOf, "id", 1) + ` ORDER BY id ` + s.dialect.forUpdate
	found, err := tx.QueryContext(ctx, query, string(mustJSON(want)))
	have, err := collect(found, err, scanString)
	if err != nil {
		return fmt.Errorf("look for payloads: %w", err)
	}
	for _, id := range want {
		if !slices.Contains(have, id) {
			return unfitError("the payload was too large for the stream, and the table has none of that id")
		}
	}
	return nil
}

func scanString(s scanner) (v string, err error) {
	err = s.Scan(&v)
	return v, err
}

func idsOf(rows []row, attempts []Attempt) []string {
	ids := make([]string, 0, len(rows)+len(attempts))
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	for _, a := range attempts {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// settle joins dead letters with their attempts, whichever came first: it ends replays
// that were delivered or died, and takes the last answer's body to the dead letter.
// What was delivered stays so, and what was discarded stays discarded.
func (s *store) settle(ctx context.Context, tx *sql.Tx, ids []string) error {
	isOne := fmt.Sprintf(s.dialect.isOneOf, "id", 1)
	list := string(mustJSON(ids))
	now := formatStamp(time.Now())

	delivered := `UPDATE dead_letters SET state = 'delivered', replay_count = a.replay, changed_by = '', changed_at = $2
		FROM (SELECT id, max(replay) AS replay FROM dead_letter_attempts
			WHERE ` + isOne + ` AND replay > 0 AND outcome IN ('ack', 'drop') GROUP BY id) AS a
		WHERE dead_letters.id = a.id AND state IN ('dead', 'replaying') AND a.replay >= replay_count AND a.replay >= died_in
		RETURNING dead_letters.id, replay_count`
	if err := s.settleAs(ctx, tx, ActionDelivered, delivered, list, now); err != nil {
		return err
	}
	died := `UPDATE dead_letters SET state = 'dead', replay_count = died_in, changed_by = '', changed_at = $2
		WHERE ` + isOne + ` AND (` + stateByID + ` = 'replaying' AND died_in >= replay_count
			OR ` + stateByID + ` = 'dead' AND died_in > replay_count)
		RETURNING id, replay_count`
	if err := s.settleAs(ctx, tx, ActionDied, died, list, now); err != nil {
		return err
	}
	//nolint:gosec // constants only
	response := `UPDATE dead_letters SET response = a.response
		FROM dead_letter_attempts AS a
		WHERE ` + fmt.Sprintf(s.dialect.isOneOf, "dead_letters.id", 1) + ` AND a.id = dead_letters.id AND a.replay = dead_letters.died_in
			AND a.number = (SELECT max(number) FROM dead_letter_attempts AS b
				WHERE b.id = a.id AND b.replay = a.replay AND b.outcome IN ('nak', 'term'))
			AND a.response IS DISTINCT FROM dead_letters.response`
	if _, err := tx.ExecContext(ctx, response, list); err != nil {
		return fmt.Errorf("join dead letters with their attempts: %w", err)
	}
	return nil
}

// stateByID is the state where rows are found by their ids: SQLite would take the index
// of the states, and look at all that are dead.
const stateByID = `state || ''`

// settleAs runs an update that ends replays, and writes each end into the audit.
func (s *store) settleAs(ctx context.Context, tx *sql.Tx, action Action, update, ids, now string) error {
	rows, err := tx.QueryContext(ctx, update, ids, now)
	ends, err := collect(rows, err, func(s scanner) (auditRow, error) { return scanReplay(action, s) })
	if err != nil {
		return fmt.Errorf("end replays: %w", err)
	}
	return s.audit(ctx, tx, ends...)
}

// quarantine keeps what cannot become a row, and says so once.
func (s *store) quarantine(ctx context.Context, tx *sql.Tx, u Unreadable) error {
	const insert = `INSERT INTO quarantine (id, at, reason, stream, stream_sequence, subject, headers, headers_exact, data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`
	headers, exact := headerColumns(u.Headers)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%d\x00%s\x00%s\x00", u.Stream, u.Sequence, u.Subject, ExactHeaders(u.Headers))
	sum.Write(u.Data)
	data := u.Data
	if data == nil {
		data = []byte{}
	}
	sequence := int64(u.Sequence & (1<<63 - 1)) // what is above cannot be, and the id keeps it apart
	result, err := tx.ExecContext(ctx, insert, hex.EncodeToString(sum.Sum(nil)), formatStamp(time.Now()),
		shortText(cleanText(u.Reason)), cleanText(u.Stream), sequence, cleanText(u.Subject), headers, exact, data)
	if err != nil {
		return fmt.Errorf("quarantine a message of stream %q: %w", u.Stream, err)
	}
	if n, err := result.RowsAffected(); err == nil && n > 0 {
		s.log.Warn("message quarantined", "stream", u.Stream, "stream_seq", u.Sequence, "subject", u.Subject, "reason", u.Reason)
	}
	return nil
}

// refusedRecord is a dead letter as it was in the stream.
func refusedRecord(r Record, why error) Unreadable {
	m := r.Encode(r.OriginalSubject)
	return Unreadable{
		Stream: r.Stream, Sequence: r.StreamSequence, Subject: m.Subject, Headers: m.Header, Data: m.Data, Reason: why.Error(),
	}
}

// refusedAttempt is an attempt as it was in the stream.
func refusedAttempt(a Attempt, why error) Unreadable {
	u := Unreadable{Stream: AttemptsStream, Subject: AttemptsSubjectPrefix + a.Route, Reason: why.Error()}
	if m, err := a.Encode(); err == nil { // it was decoded from that form
		u.Data = m.Data
	}
	return u
}

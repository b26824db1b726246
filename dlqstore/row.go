package dlqstore

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// row is a dead letter as it is written.
type row struct {
	DeadLetter
	family    string // id of the original of which it, or what it is a copy of, is a copy
	diedIn    int    // the replay whose death it tells; 0: the first life
	reference bool   // has no payload: the table must have it
}

// rowColumns are what values returns, in its order.
const (
	rowColumns = `id, route, state, reason, original_subject, payload, headers, headers_exact, error, status,
		response, retry_count, consumer_name, stream, stream_sequence, published_at, failed_at, replay_of, family,
		replay_count, died_in, changed_by, changed_at, error_class, cause, fingerprint`

	insertRow = `INSERT INTO dead_letters (` + rowColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, nullif($18, ''), $19, $20,
			$21, $22, $23, $24, $25, $26)`

	// onConflict takes a later death's cause and never touches what was there before
	// the delivery died: payload, headers and origin.
	onConflict = `
		ON CONFLICT (id) DO UPDATE SET
			reason = excluded.reason, error = excluded.error, status = excluded.status, response = excluded.response,
			retry_count = excluded.retry_count, consumer_name = excluded.consumer_name, failed_at = excluded.failed_at,
			died_in = excluded.died_in, error_class = excluded.error_class, cause = excluded.cause,
			fingerprint = excluded.fingerprint
		WHERE excluded.died_in > dead_letters.died_in`
)

func (r row) values() []any {
	headers, exact := headerColumns(r.Headers)
	payload := r.Payload
	if payload == nil {
		payload = []byte{} // NULL would mean that there is none
	}
	c := causeOf(r.DeadLetter)
	return []any{
		r.ID, cleanText(r.Route), string(r.State), string(r.Reason), cleanText(r.OriginalSubject), payload, headers, exact,
		shortText(cleanText(r.Error)), r.Status, r.Response[:min(len(r.Response), MaxResponseBytes)],
		r.RetryCount, cleanText(r.ConsumerName), cleanText(r.Stream),
		int64(r.StreamSequence), //nolint:gosec // check refuses those above MaxInt64
		formatStamp(r.PublishedAt), formatStamp(r.FailedAt), r.ReplayOf, r.family, r.ReplayCount, r.diedIn,
		cleanText(r.ChangedBy), formatStamp(r.ChangedAt), c.class, c.text, c.fingerprint,
	}
}

// attemptColumns are what attemptValues returns, in its order.
const attemptColumns = `id, replay, number, route, at, status, error, duration_ms, response_headers, response, outcome,
	instance`

func attemptValues(a Attempt) []any {
	headers, _ := headerColumns(a.ResponseHeaders)
	return []any{
		a.ID, a.Replay, a.Number, cleanText(a.Route), formatStamp(a.At), a.Status, shortText(cleanText(a.Error)),
		float64(a.Duration) / float64(time.Millisecond), headers, a.Response[:min(len(a.Response), MaxResponseBytes)],
		a.Verdict, cleanText(a.Instance),
	}
}

// unfitError says that something can never become a row.
type unfitError string

func (e unfitError) Error() string { return string(e) }

// check refuses what the columns cannot hold and what their constraints cannot see.
func (r Record) check() error {
	switch {
	case r.StreamSequence > math.MaxInt64:
		return unfitError(fmt.Sprintf("the stream sequence %d is too large", r.StreamSequence))
	case !fits(r.Status, r.RetryCount, r.Replay):
		return unfitError("the status, the number of attempts or of the replay is too large")
	case !plainID(r.ID) || !plainID(r.ReplayOf):
		return unfitError("the id holds bytes that are not text")
	default:
		return nil
	}
}

func (a Attempt) check() error {
	switch {
	case !fits(a.Status, a.Number, a.Replay):
		return unfitError("the status, the number of the attempt or of the replay is too large")
	case !plainID(a.ID):
		return unfitError("the id holds bytes that are not text")
	default:
		return nil
	}
}

func fits(numbers ...int) bool {
	for _, n := range numbers {
		if n > math.MaxInt32 || n < math.MinInt32 {
			return false
		}
	}
	return true
}

// plainID says whether a text column keeps the id as it is.
func plainID(id string) bool { return cleanText(id) == id }

// shortText cuts text to MaxErrorBytes, between characters.
func shortText(s string) string {
	if len(s) <= MaxErrorBytes {
		return s
	}
	return strings.ToValidUTF8(s[:MaxErrorBytes], "")
}

// selectColumns are what scanDeadLetter reads, in its order; briefColumns the same without
// what may be large.
const (
	selectColumns = smallColumns + `, payload, headers, headers_exact, response`
	briefColumns  = smallColumns + `, NULL, '{}', NULL, NULL`
	smallColumns  = `id, route, state, reason, original_subject, error, status, retry_count, consumer_name, stream,
		stream_sequence, published_at, failed_at, coalesce(replay_of, ''), replay_count, discard_reason, changed_by,
		changed_at, error_class, fingerprint`
)

// searchColumns are those of the table that a search for text hands on.
const searchColumns = rowColumns + `, discard_reason`

// scanner is a *sql.Row or a *sql.Rows.
type scanner interface{ Scan(...any) error }

func scanDeadLetter(s scanner) (DeadLetter, error) {
	var d DeadLetter
	var headers string
	var exact []byte
	var sequence int64
	err := s.Scan(&d.ID, &d.Route, &d.State, &d.Reason, &d.OriginalSubject, &d.Error, &d.Status, &d.RetryCount,
		&d.ConsumerName, &d.Stream, &sequence, (*stamp)(&d.PublishedAt), (*stamp)(&d.FailedAt), &d.ReplayOf, &d.ReplayCount,
		&d.DiscardReason, &d.ChangedBy, (*stamp)(&d.ChangedAt), &d.ErrorClass, &d.Fingerprint,
		&d.Payload, &headers, &exact, &d.Response)
	if err != nil {
		return DeadLetter{}, err
	}
	d.StreamSequence = uint64(sequence) //nolint:gosec // a constraint keeps it at 0 or above
	if d.Headers, err = parseHeaderColumns(headers, exact); err != nil {
		return DeadLetter{}, fmt.Errorf("headers of dead letter %s: %w", d.ID, err)
	}
	return d, nil
}

func scanAttempt(s scanner) (Attempt, error) {
	var a Attempt
	var headers string
	var milliseconds float64
	err := s.Scan(&a.ID, &a.Replay, &a.Number, &a.Route, (*stamp)(&a.At), &a.Status, &a.Error, &milliseconds, &headers,
		&a.Response, &a.Verdict, &a.Instance)
	if err != nil {
		return Attempt{}, err
	}
	a.Duration = time.Duration(math.Round(milliseconds * float64(time.Millisecond)))
	if a.ResponseHeaders, err = parseHeaderColumns(headers, nil); err != nil {
		return Attempt{}, fmt.Errorf("response headers of attempt %d of %s: %w", a.Number, a.ID, err)
	}
	return a, nil
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// stampLayout is a time as both databases take it; SQLite keeps it as it is, so its
// width is fixed, that the order as text be the order in time.
const stampLayout = "2006-01-02T15:04:05.000000Z"

func formatStamp(t time.Time) string { return t.UTC().Format(stampLayout) }

// stamp reads a time: Postgres gives it as such, SQLite as text.
type stamp time.Time

func (s *stamp) Scan(v any) error {
	switch v := v.(type) {
	case time.Time:
		*s = stamp(v.UTC())
		return nil
	case string:
		t, err := time.Parse(stampLayout, v)
		*s = stamp(t)
		return err
	default:
		return errors.New("want a time")
	}
}

package dlqstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPageLimit = 50
	maxPageLimit     = 500
	// maxPageBytes bounds the payloads of a page; one dead letter always fits.
	maxPageBytes = 16 << 20
)

func (p Page) limit() int {
	if p.Limit <= 0 {
		return defaultPageLimit
	}
	return min(p.Limit, maxPageLimit)
}

func (s *store) List(ctx context.Context, f Filter, p Page) (List, error) {
	limit := p.limit()
	w, err := s.search(ctx, f, p.Cursor, limit+1)
	if err != nil {
		return List{}, err
	}
	columns := selectColumns
	if p.Brief {
		columns = briefColumns
	}
	//nolint:gosec // constants and the numbers of parameters
	query := `SELECT ` + columns + ` FROM ` + w.from() + w.sql() +
		` ORDER BY failed_at DESC, id DESC LIMIT ` + strconv.Itoa(limit+1)
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	list, err := readPage(rows, err, limit)
	if err == nil && list.Next == "" && w.depth > 0 {
		err = s.readEnd(ctx, w, &list)
	}
	if err == nil && !p.Brief {
		err = s.readAttempts(ctx, list.DeadLetters)
	}
	if err != nil {
		return List{}, fmt.Errorf("list dead letters: %w", err)
	}
	return list, nil
}

// readAttempts fills in the attempts of a page, without what the receivers answered:
// that may be 4 KiB each time.
func (s *store) readAttempts(ctx context.Context, page []DeadLetter) error {
	if len(page) == 0 {
		return nil
	}
	at, ids := map[string]*DeadLetter{}, make([]string, len(page))
	for i := range page {
		ids[i] = page[i].ID
		at[ids[i]] = &page[i]
	}
	attempts, err := s.lastAttempts(ctx, `id, replay, number, route, at, status, error, duration_ms, '{}', NULL, outcome, instance`, ids)
	for _, a := range attempts {
		at[a.ID].Attempts = append(at[a.ID].Attempts, a)
	}
	return err
}

// lastAttempts reads those columns, which scanAttempt takes, of the last attempts of each id.
func (s *store) lastAttempts(ctx context.Context, columns string, ids []string) ([]Attempt, error) {
	w := &conditions{}
	s.whereID(w, ids)
	//nolint:gosec // constants and the numbers of parameters
	query := `SELECT ` + columns + ` FROM (
			SELECT ` + attemptColumns + `, row_number() OVER (PARTITION BY id ORDER BY replay DESC, number DESC) AS back
			FROM dead_letter_attempts` + w.sql() + `) AS a
		WHERE back <= ` + strconv.Itoa(MaxAttempts) + ` ORDER BY replay, number`
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	return collect(rows, err, scanAttempt)
}

// readPage reads until the page is full, by number or by bytes, and closes the rows.
func readPage(rows *sql.Rows, err error, limit int) (List, error) {
	if err != nil {
		return List{}, err
	}
	defer rows.Close()
	var list List
	size := 0
	for rows.Next() {
		d, err := scanDeadLetter(rows)
		if err != nil {
			return List{}, err
		}
		size += len(d.Payload)
		if n := len(list.DeadLetters); n == limit || n > 0 && size > maxPageBytes {
			last := list.DeadLetters[n-1]
			list.Next = formatCursor(last.FailedAt, last.ID)
			return list, nil
		}
		list.DeadLetters = append(list.DeadLetters, d)
	}
	return list, rows.Err()
}

func (s *store) Get(ctx context.Context, id string) (DeadLetter, error) {
	if !plainID(id) {
		return DeadLetter{}, ErrNotFound
	}
	const one = `SELECT ` + selectColumns + ` FROM dead_letters WHERE id = $1`
	d, err := scanDeadLetter(s.read.QueryRowContext(ctx, one, id))
	if errors.Is(err, sql.ErrNoRows) {
		return DeadLetter{}, ErrNotFound
	}
	if err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %q: %w", id, err)
	}
	if d.Attempts, err = s.lastAttempts(ctx, attemptColumns, []string{id}); err != nil {
		return DeadLetter{}, fmt.Errorf("read the attempts of dead letter %q: %w", id, err)
	}
	return d, nil
}

func (s *store) Count(ctx context.Context, f Filter) (int, error) {
	if countable(f) {
		n, err := s.counted(ctx, f)
		return min(n, MaxCount+1), err
	}
	w, err := s.search(ctx, f, "", MaxCount+1)
	if err != nil {
		return 0, err
	}
	var n int
	query := `SELECT count(*) FROM (SELECT 1 FROM ` + w.from() + w.sql() + ` LIMIT ` + strconv.Itoa(MaxCount+1) + `) AS chosen`
	if err := s.read.QueryRowContext(ctx, query, w.args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// counted asks the counts for all that a countable filter chooses.
func (s *store) counted(ctx context.Context, f Filter) (int, error) {
	var args []any
	query := `SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM ` + tally(&args, f, time.Now())
	var n int
	if err := s.read.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, nil
}

// countAll counts all that the filter chooses, up to the limit; 0: there is none. What the
// counts do not tell it has to look for among all.
func (s *store) countAll(ctx context.Context, f Filter, limit int) (n int, err error) {
	if countable(f) {
		n, err = s.counted(ctx, f)
	} else {
		w := s.where(f)
		query := `SELECT count(*) FROM (SELECT 1 FROM dead_letters` + w.sql() + limitOf(limit) + `) AS chosen`
		if err = s.read.QueryRowContext(ctx, query, w.args...).Scan(&n); err != nil {
			err = fmt.Errorf("count dead letters: %w", err)
		}
	}
	if limit > 0 {
		n = min(n, limit)
	}
	return n, err
}

// limitOf ends a query; 0: there is no limit.
func limitOf(limit int) string {
	if limit <= 0 {
		return ""
	}
	return ` LIMIT ` + strconv.Itoa(limit)
}

// conditions are what a WHERE joins with AND.
type conditions struct {
	parts []string
	args  []any
	// looked is set where only some of the table is looked at: the conditions, the order
	// and the limit of that, with the first lookedArgs parameters. Depth is how many those
	// are at most; 0: they are all that could be chosen.
	looked     string
	lookedArgs int
	depth      int
}

func (c *conditions) add(condition string) { c.parts = append(c.parts, condition) }

// arg takes a value and returns the parameter that stands for it.
func (c *conditions) arg(v any) string {
	return "$" + strconv.Itoa(c.number(v))
}

func (c *conditions) number(v any) int {
	if text, ok := v.(string); ok {
		v = cleanText(text) // the columns hold no other
	}
	c.args = append(c.args, v)
	return len(c.args)
}

func (c *conditions) sql() string {
	if len(c.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.parts, " AND ")
}

func (s *store) where(f Filter) *conditions {
	w := &conditions{}
	s.choose(w, f)
	whereTime(w, "failed_at", f.Since, f.Until)
	return w
}

// choose adds all conditions of a filter but its times.
func (s *store) choose(w *conditions, f Filter) {
	if f.IDs != nil {
		s.whereID(w, f.IDs)
	}
	whereKind(w, f)
	if f.Subject != "" {
		s.whereSubject(w, f.Subject)
	}
	if f.Query != "" {
		s.whereText(w, f.Query)
	}
	if f.MinAttempts > 0 {
		w.add(`retry_count >= ` + w.arg(f.MinAttempts))
	}
}

// whereKind is what of a filter the table of counts knows too.
func whereKind(w *conditions, f Filter) {
	if f.Route != "" {
		w.add(`route = ` + w.arg(f.Route))
	}
	if f.Reason != "" {
		w.add(`reason = ` + w.arg(string(f.Reason)))
	}
	if f.Status != 0 {
		w.add(`status = ` + w.arg(f.Status))
	}
	if f.State != "" {
		w.add(`state = ` + w.arg(string(f.State)))
	}
	if f.Fingerprint != "" {
		w.add(`fingerprint = ` + w.arg(f.Fingerprint))
	}
}

// whereTime bounds a column to the times from since on and before until.
func whereTime(w *conditions, column string, since, until time.Time) {
	if !since.IsZero() {
		w.add(column + ` >= ` + w.arg(formatStamp(since)))
	}
	if !until.IsZero() {
		w.add(column + ` < ` + w.arg(formatStamp(until)))
	}
}

// indexedSubject is how much of a subject stands in its index.
const indexedSubject = 500

// wholeSubject says that a pattern has no wildcard and stands in the index as it is.
func wholeSubject(pattern string) bool {
	return pattern != "" && len(pattern) < indexedSubject && literals(strings.Split(pattern, ".")) == pattern
}

// literals are the tokens before the first wildcard.
func literals(tokens []string) string {
	for i, token := range tokens {
		if token == "*" || token == ">" {
			tokens = tokens[:i]
			break
		}
	}
	return strings.Join(tokens, ".")
}

// whereSubject matches a NATS subject pattern token by token, and by a range of the
// index for the tokens before the first wildcard.
func (s *store) whereSubject(w *conditions, pattern string) {
	tokens := strings.Split(pattern, ".")
	if literals(tokens) == pattern && !wholeSubject(pattern) {
		w.add(`original_subject = ` + w.arg(pattern))
		return
	}
	if whereSubjectRange(w, pattern) {
		return
	}
	count := `1 + length(original_subject) - length(replace(original_subject, '.', ''))`
	if tokens[len(tokens)-1] == ">" {
		tokens = tokens[:len(tokens)-1]
		w.add(count + ` > ` + w.arg(len(tokens)))
	} else {
		w.add(count + ` = ` + w.arg(len(tokens)))
	}
	for i, token := range tokens {
		if token != "*" {
			w.add(s.dialect.subjectToken(i) + ` = ` + w.arg(token))
		}
	}
}

// whereSubjectRange adds what the index knows of a pattern, and says whether that is all.
func whereSubjectRange(w *conditions, pattern string) (all bool) {
	const column = `substr(original_subject, 1, 500)`
	if wholeSubject(pattern) {
		w.add(column + ` = ` + w.arg(pattern))
		return true
	}
	prefix := literals(strings.Split(pattern, "."))
	if prefix == "" || len(prefix) >= indexedSubject {
		return false
	}
	// What begins with the prefix and a dot stands before the prefix and a slash, the
	// character after the dot.
	w.add(column + ` >= ` + w.arg(prefix+"."))
	w.add(column + ` < ` + w.arg(prefix+"/"))
	return pattern == prefix+".>"
}

func formatCursor(failed time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(formatStamp(failed) + id))
}

// parseCursor returns the time as the database takes it.
func parseCursor(cursor string) (failed, id string, err error) {
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(data) <= len(stampLayout) {
		return "", "", ErrCursor
	}
	failed, id = string(data[:len(stampLayout)]), string(data[len(stampLayout):])
	if t, err := time.Parse(stampLayout, failed); err != nil || t.Year() < 1 || !plainID(id) { // Postgres knows no year 0
		return "", "", ErrCursor
	}
	return failed, id, nil
}

package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A search for text looks at a bounded number of dead letters, the newest first. Where
// Postgres has an index for text, it finds what stands in few dead letters among all of
// them. That index gives what it finds in no order: of a text that stands in many it
// would have to read them all for one page, while the newest hold a page of them.
const (
	searchDepth = 10_000
	// A text stands in many when it is in that many of the newest of a sample: the newest
	// that are looked at hold a page of it.
	sampleDepth = 1_000
	frequent    = 10
)

// search is where, from a page's cursor on, bounded where it looks for text or for many
// attempts, of which there is no index. What is an id is looked for as such.
func (s *store) search(ctx context.Context, f Filter, cursor string) (*conditions, error) {
	text, attempts := f.Query, f.MinAttempts
	f.Query, f.MinAttempts = "", 0
	w := s.where(f)
	if len(text) == idTextBytes && strings.HasPrefix(text, idPrefix) {
		w.add(`id = ` + w.arg(text))
		text = ""
	}
	if cursor != "" {
		failed, id, err := parseCursor(cursor)
		if err != nil {
			return nil, err
		}
		w.add(`(failed_at, id) < (` + w.arg(failed) + `, ` + w.arg(id) + `)`)
	}
	if text != "" {
		ids, found, err := s.byTextIndex(ctx, w, text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("search for text: %w", err)
		case found:
			s.whereID(w, ids)
		default:
			w.lookAt(searchDepth)
			s.whereText(w, text)
		}
	} else if attempts > 0 {
		w.lookAt(searchDepth)
	}
	whereAttempts(w, attempts)
	return w, nil
}

// byTextIndex returns the ids of all dead letters that hold the text, when there is an
// index for it and they are few.
func (s *store) byTextIndex(ctx context.Context, w *conditions, text string) (ids []string, found bool, err error) {
	if s.dialect.hasTextIndex == "" {
		return nil, false, nil
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	err = tx.QueryRowContext(ctx, s.dialect.hasTextIndex, cleanText(text)).Scan(&found)
	if err != nil || !found {
		return nil, false, err
	}
	sample := w.clone()
	sample.lookAt(sampleDepth)
	s.whereText(sample, text)
	var n int
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM `+sample.from()+sample.sql(), sample.args...).Scan(&n)
	if err != nil || n >= frequent {
		return nil, false, err
	}
	all := w.clone()
	s.whereText(all, text)
	//nolint:gosec // constants and the numbers of parameters
	query := `WITH found AS MATERIALIZED (SELECT id FROM dead_letters` + all.sql() + `)
		SELECT id FROM found LIMIT ` + strconv.Itoa(searchDepth+1)
	rows, err := tx.QueryContext(ctx, query, all.args...)
	ids, err = collect(rows, err, scanString)
	return ids, err == nil && len(ids) <= searchDepth, err
}

func (c *conditions) clone() *conditions {
	return &conditions{parts: slices.Clone(c.parts), args: slices.Clone(c.args)}
}

// lookAt makes what is added from now on look only at so many of what the conditions
// choose until now, the newest.
func (c *conditions) lookAt(depth int) {
	c.looked = c.sql() + ` ORDER BY failed_at DESC, id DESC LIMIT ` + strconv.Itoa(depth)
	c.lookedArgs, c.parts = len(c.args), nil
}

// from is the table, or what of it is looked at.
func (c *conditions) from() string {
	if c.looked == "" {
		return "dead_letters"
	}
	return `(SELECT ` + searchColumns + ` FROM dead_letters` + c.looked + `) AS dead_letters`
}

// readEnd lets the next page go on where a search for text stopped looking.
func (s *store) readEnd(ctx context.Context, w *conditions, list *List) error {
	last := `SELECT id, failed_at FROM dead_letters` + w.looked + ` OFFSET ` + strconv.Itoa(searchDepth-1)
	var id string
	err := s.read.QueryRowContext(ctx, last, w.args[:w.lookedArgs]...).Scan(&id, (*stamp)(&list.SearchedTo))
	if errors.Is(err, sql.ErrNoRows) {
		return nil // it looked at all there is
	}
	list.Next = formatCursor(list.SearchedTo, id)
	return err
}

func (s *store) whereID(w *conditions, ids []string) {
	if ids == nil {
		ids = []string{} // null would be no list
	}
	w.add(fmt.Sprintf(s.dialect.isOneOf, "id", w.number(string(mustJSON(ids)))))
}

// whereText has the form of the index for text, column by column.
func (s *store) whereText(w *conditions, query string) {
	like := ` ` + s.dialect.like + ` ` + w.arg(`%`+likeEscaper.Replace(query)+`%`) + ` ESCAPE '\'`
	w.add(`(id = ` + w.arg(query) + ` OR original_subject` + like + ` OR error` + like +
		` OR ` + fmt.Sprintf(s.dialect.payloadHas, w.number([]byte(query))) + `)`)
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// No list, count or page of groups looks at more than a bounded number of dead letters.
// It has what it is asked for from an index in the order of time; or it reads all of a
// set that is small, whichever part of the filter bounds it; or else it looks at the
// newest and says how far it looked.
const (
	searchDepth = 10_000
	// Those of a subject lie far apart, each on a page of its own. A pattern's are in no
	// order of time; if there are few, all are read, once to count them.
	subjectDepth = 2_000
	// An index for text gives what it finds in no order: of a text that stands in many it
	// would have to read them all for one page. It does when it is in that many of the
	// newest of a sample: the newest that are looked at hold a page of it.
	sampleDepth = 1_000
	frequent    = 10
)

// search is where, from a page's cursor on, for one who reads at most limit of what it
// chooses, the newest first.
func (s *store) search(ctx context.Context, f Filter, cursor string, limit int) (*conditions, error) {
	w := &conditions{}
	whereTime(w, "failed_at", f.Since, f.Until)
	if cursor != "" {
		failed, id, err := parseCursor(cursor)
		if err != nil {
			return nil, err
		}
		w.add(`(failed_at, id) < (` + w.arg(failed) + `, ` + w.arg(id) + `)`)
	}
	f.Since, f.Until = time.Time{}, time.Time{}
	if len(f.Query) == idTextBytes && strings.HasPrefix(f.Query, idPrefix) {
		w.add(`id = ` + w.arg(f.Query))
		f.Query = ""
		s.choose(w, f)
		return w, nil
	}
	inOrder := ordered(f)
	switch {
	case f.IDs != nil || reflect.DeepEqual(f, inOrder):
		s.choose(w, f)
		return w, nil
	case countable(f):
		s.whereKinds(w, f, limit)
		return w, nil
	}
	if err := s.narrow(ctx, w, &f, inOrder); err != nil {
		return nil, fmt.Errorf("look how many dead letters there are to search: %w", err)
	}
	s.choose(w, f)
	return w, nil
}

// ordered is the part of a filter that an index has in the order of time.
func ordered(f Filter) Filter {
	switch {
	case wholeSubject(f.Subject):
		return Filter{Subject: f.Subject}
	case f.Route != "":
		return Filter{Route: f.Route}
	default:
		return Filter{State: f.State}
	}
}

// narrow bounds what is looked at, by the part of the filter that chooses few.
func (s *store) narrow(ctx context.Context, w *conditions, f *Filter, inOrder Filter) error {
	if f.Query != "" {
		ids, found, err := s.byTextIndex(ctx, w, *f, inOrder)
		if err != nil {
			return err
		}
		if found {
			s.whereID(w, ids)
			f.Query = ""
			return nil
		}
	}
	kinds := Filter{Route: f.Route, Reason: f.Reason, Status: f.Status, State: f.State, Fingerprint: f.Fingerprint}
	if !reflect.DeepEqual(kinds, Filter{}) {
		n, err := s.counted(ctx, kinds)
		if err != nil {
			return err
		}
		if n <= searchDepth {
			s.whereKinds(w, kinds, searchDepth)
			return nil
		}
	}
	if f.Subject != "" && inOrder.Subject == "" {
		some := func(c *conditions) string {
			whereSubjectRange(c, f.Subject)
			return c.sql() + ` LIMIT ` + strconv.Itoa(subjectDepth+1)
		}
		alone, before := &conditions{}, &conditions{args: w.args}
		query := `SELECT count(*) FROM (SELECT 1 FROM dead_letters` + some(alone) + `) AS few`
		var n int
		if err := s.read.QueryRowContext(ctx, query, alone.args...).Scan(&n); err != nil {
			return err
		}
		if n <= subjectDepth {
			w.looked, w.args = some(before), before.args
			return nil
		}
	}
	depth := searchDepth
	if inOrder.Subject != "" {
		depth = subjectDepth
	}
	s.choose(w, inOrder)
	w.lookAt(depth)
	return nil
}

// byTextIndex returns the ids of all dead letters that hold the text, when there is an
// index for it and they are few.
func (s *store) byTextIndex(ctx context.Context, w *conditions, f, inOrder Filter) (ids []string, found bool, err error) {
	if s.dialect.hasTextIndex == "" {
		return nil, false, nil
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	err = tx.QueryRowContext(ctx, s.dialect.hasTextIndex, cleanText(f.Query)).Scan(&found)
	if err != nil || !found {
		return nil, false, err
	}
	sample := w.clone()
	s.choose(sample, inOrder)
	sample.lookAt(sampleDepth)
	s.choose(sample, f)
	var n int
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM `+sample.from()+sample.sql(), sample.args...).Scan(&n)
	if err != nil || n >= frequent {
		return nil, false, err
	}
	all := w.clone()
	s.choose(all, f)
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
	c.lookedArgs, c.parts, c.depth = len(c.args), nil, depth
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
	last := `SELECT id, failed_at FROM dead_letters` + w.looked + ` OFFSET ` + strconv.Itoa(w.depth-1)
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

package dlqstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// The table dead_letter_counts knows, by hour, how many dead letters of a kind there
// are. Triggers keep it, in the transaction of whatever change. Of a million dead letters
// a page of groups would else have to look at each.
const (
	// hoursKept is for how long hours are kept apart before they are added to their day.
	hoursKept = 72 * time.Hour
	// hoursAsked is how far back they are taken to be apart. The difference is room for
	// clocks that go wrong.
	hoursAsked = 48 * time.Hour
	// compactEvery is after how many batches of the projector the counts are added up.
	compactEvery = 50
)

// countable says that the counts tell how many dead letters the filter chooses.
func countable(f Filter) bool {
	return f.IDs == nil && f.Subject == "" && f.Query == "" && f.MinAttempts == 0
}

// tally is a table of kinds, with a column n, whose sum of n is how many dead letters the
// filter chooses. Its parameters are added to those given.
func tally(args *[]any, f Filter, now time.Time) string {
	slice := func(n, table, column string, from, to time.Time) string {
		w := &conditions{args: *args}
		whereKind(w, f)
		whereTime(w, column, from, to)
		*args = w.args
		return `SELECT ` + kindColumns + `, ` + n + ` FROM ` + table + w.sql()
	}
	// Whole buckets come from the counts, what a bound cuts off from the dead letters.
	from, to := f.Since, f.Until
	if unit := bucketAt(from, now); !from.IsZero() && !from.Equal(from.Truncate(unit)) {
		from = from.Truncate(unit).Add(unit)
	}
	if !to.IsZero() {
		to = to.Truncate(bucketAt(to, now))
	}
	if !to.IsZero() && !from.Before(to) {
		return `(` + slice(`1 AS n`, "dead_letters", "failed_at", f.Since, f.Until) + `) AS tally`
	}
	slices := []string{slice(`n`, "dead_letter_counts", "bucket", from, to)}
	if from.After(f.Since) {
		slices = append(slices, slice(`1`, "dead_letters", "failed_at", f.Since, from))
	}
	if to.Before(f.Until) {
		slices = append(slices, slice(`1`, "dead_letters", "failed_at", to, f.Until))
	}
	return `(` + strings.Join(slices, ` UNION ALL `) + `) AS tally`
}

// bucketAt is the length of the buckets around t, which is in UTC as Truncate is.
func bucketAt(t, now time.Time) time.Duration {
	if now.Sub(t) < hoursAsked {
		return time.Hour
	}
	return 24 * time.Hour
}

// compactCounts adds up what is of one kind, in a transaction that projects.
func (s *store) compactCounts(ctx context.Context, tx *sql.Tx) error {
	if s.projected.Add(1)%compactEvery != 0 {
		return nil
	}
	for _, statement := range s.dialect.compactCounts {
		if _, err := tx.ExecContext(ctx, statement, formatStamp(time.Now().Add(-hoursKept))); err != nil {
			return fmt.Errorf("add up the counts of dead letters: %w", err)
		}
	}
	return nil
}

package dlqstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// MaxChange is how many dead letters Change changes at most.
const MaxChange = 20_000

// Change discards or restores many dead letters.
type Change struct {
	// To is Discarded, of dead letters that are dead, or Dead, of discarded ones. Of an
	// original and its edited copies, which of them comes back is for a person to say:
	// they are restored one by one.
	To State
	// Filter chooses among them; its State is not looked at.
	Filter Filter
	// Limit is how many are changed at most, the oldest failures first. 0: MaxChange.
	Limit  int
	Reason string // of a discard
}

// families are the ids of all edited copies and of what they are copies of.
const families = `SELECT id FROM dead_letters WHERE replay_of IS NOT NULL UNION SELECT family FROM dead_letters WHERE replay_of IS NOT NULL`

// filter chooses what the change is about, and with it, when restoring, families.
func (c Change) filter() Filter {
	f := c.Filter
	f.State = Dead
	if c.To == Dead {
		f.State = Discarded
	}
	return f
}

func (s *store) CountChange(ctx context.Context, c Change) (int, error) {
	if c.To != Dead {
		return s.countAll(ctx, c.filter(), c.Limit)
	}
	n, err := s.countAll(ctx, c.filter(), 0)
	if err != nil {
		return 0, err
	}
	w := s.where(c.filter())
	w.add(fmt.Sprintf(s.dialect.isOneChosen, "id", families))
	var stay int
	if err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM dead_letters`+w.sql(), w.args...).Scan(&stay); err != nil {
		return 0, fmt.Errorf("count edited copies: %w", err)
	}
	if n = max(0, n-stay); c.Limit > 0 { // they may have changed in between
		n = min(n, c.Limit)
	}
	return n, nil
}

// Change writes what it chose into the audit, and then changes what stands there. So
// it is a snapshot, and needs no memory.
func (s *store) Change(ctx context.Context, c Change, by Actor) (int, error) {
	action := ActionDiscard
	if c.To == Dead {
		action, c.Reason = ActionRestore, ""
	}
	limit := MaxChange
	if c.Limit > 0 {
		limit = min(limit, c.Limit)
	}
	id := "chg_" + strings.ToLower(rand.Text())
	now := formatStamp(time.Now())
	n := 0
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		// The projector locks rows in another order.
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		w := s.where(c.filter())
		if c.To == Dead {
			w.add(`NOT ` + fmt.Sprintf(s.dialect.isOneChosen, "id", families))
		}
		chosen := `SELECT id, route FROM dead_letters` + w.sql() + ` ORDER BY failed_at, id` + limitOf(limit)
		detail := map[string]any{"change": id}
		if c.Filter.IDs == nil { // else each row would tell of all ids
			detail["filter"] = c.Filter
		}
		write := `INSERT INTO audit (at, actor, source, action, reason, detail, dead_letter_id, route, before_sha256, after_sha256)
			SELECT ` + w.arg(now) + `, ` + w.arg(by.Name) + `, ` + w.arg(by.Source) + `, ` + w.arg(string(action)) + `, ` +
			w.arg(c.Reason) + `, ` + w.arg(string(mustJSON(detail))) + `, id, route, '', ''
			FROM (` + chosen + ` ` + s.dialect.forUpdate + `) AS chosen`
		var err error
		if n, err = affected(tx.ExecContext(ctx, write, w.args...)); err != nil {
			return fmt.Errorf("write the audit: %w", err)
		}
		const change = `UPDATE dead_letters SET state = $1, discard_reason = $2, changed_by = $3, changed_at = $4
			WHERE id IN (SELECT dead_letter_id FROM audit WHERE at = $4 AND detail ->> 'change' = $5)`
		_, err = tx.ExecContext(ctx, change, string(c.To), cleanText(c.Reason), cleanText(by.Name), now, id)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("change many dead letters: %w", err)
	}
	return n, nil
}

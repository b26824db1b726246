package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Rebuild projects what was missing, and then lets what was settled before be settled
// again: the audit outlives the table's rows.
func (s *store) Rebuild(ctx context.Context, batch Batch, dryRun bool, by Actor) (int, error) {
	ids := idsOf(rowsOf(batch.DeadLetters), nil)
	list := string(mustJSON(ids))
	isOne := func(column string) string { return fmt.Sprintf(s.dialect.isOneOf, column, 1) }
	added := 0
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.lockProjection(ctx, tx); err != nil {
			return err
		}
		//nolint:gosec // constants only
		rows, err := tx.QueryContext(ctx, `SELECT id FROM dead_letters WHERE `+isOne("id"), list)
		known, err := collect(rows, err, scanString)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(known, id) })
		if added = len(missing); dryRun {
			return nil
		}
		for _, u := range batch.Unreadable {
			if err := s.quarantine(ctx, tx, u); err != nil {
				return err
			}
		}
		if err := s.projectPart(ctx, tx, batch.DeadLetters, nil); err != nil || added == 0 {
			return err
		}
		if err := joinFamilies(ctx, tx); err != nil {
			return err
		}
		const moves = `('replay', 'edit_and_replay', 'discard', 'restore', 'delivered', 'died_again')`
		//nolint:gosec // constants only
		settle := `UPDATE dead_letters SET changed_at = a.at, changed_by = CASE a.actor WHEN 'relay' THEN '' ELSE a.actor END,
				state = CASE a.action WHEN 'delivered' THEN 'delivered' ELSE 'discarded' END,
				discard_reason = CASE a.action WHEN 'delivered' THEN '' ELSE a.reason END
			FROM audit AS a
			WHERE ` + isOne("dead_letters.id") + ` AND a.action IN ('delivered', 'discard', 'edit_and_replay') AND ` + stateByID + ` = 'dead'
				AND a.id = (SELECT max(id) FROM audit WHERE dead_letter_id = dead_letters.id AND action IN ` + moves + `)`
		if _, err := tx.ExecContext(ctx, settle, string(mustJSON(missing))); err != nil {
			return err
		}
		return s.audit(ctx, tx, auditRow{action: ActionRebuild, by: by, detail: map[string]any{"count": added}})
	})
	if err != nil {
		return 0, fmt.Errorf("rebuild from the stream: %w", err)
	}
	return added, nil
}

// RebuilderOptions are the settings of a Rebuilder. All are required.
type RebuilderOptions struct {
	JetStream jetstream.JetStream
	Store     Store
	// Streams returns the names of the dead-letter streams.
	Streams func() []string
}

// Rebuilder reads the dead-letter streams from their beginning and brings back what the
// table has lost.
type Rebuilder struct{ o RebuilderOptions }

// NewRebuilder makes a Rebuilder.
func NewRebuilder(o RebuilderOptions) *Rebuilder { return &Rebuilder{o} }

// RebuildStep is a place in the dead-letter streams, and what was found on the way.
type RebuildStep struct {
	Stream string // empty: before the first of them
	Next   uint64 // sequence of the message to be read next
	Last   uint64 // of the stream
	Read   int    // messages of this step
	Added  int    // dead letters that were not in the table
	Done   bool   // there is no more
}

// rebuildBatch is how many messages one step reads at most.
const rebuildBatch = 1000

// Step reads a batch of messages from the place on and brings back what is missing; a
// dry run only counts it. The place of the step that it returns is where the next one
// begins. What was discarded or delivered stays so, as far as the table or the audit
// know of it.
func (r *Rebuilder) Step(ctx context.Context, at RebuildStep, dryRun bool, by Actor) (RebuildStep, error) {
	streams := r.o.Streams()
	slices.Sort(streams)
	i, _ := slices.BinarySearch(streams, at.Stream)
	if i == len(streams) {
		return RebuildStep{Stream: at.Stream, Next: at.Next, Done: true}, nil
	}
	step := RebuildStep{Stream: streams[i], Next: 1}
	if step.Stream == at.Stream {
		step.Next = at.Next
	}
	stream, err := r.o.JetStream.Stream(ctx, step.Stream)
	if err != nil {
		return step, fmt.Errorf("look at stream %q: %w", step.Stream, err)
	}
	state := stream.CachedInfo().State
	step.Next, step.Last = max(step.Next, state.FirstSeq), state.LastSeq
	var batch Batch
	end := min(state.LastSeq+1, step.Next+rebuildBatch)
	for size := 0; step.Next < end && size < batchBytes; step.Next++ {
		m, err := stream.GetMsg(ctx, step.Next)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // deleted
		}
		if err != nil {
			return step, fmt.Errorf("read message %d of stream %q: %w", step.Next, step.Stream, err)
		}
		step.Read++
		size += len(m.Data)
		record, err := Decode(m.Header, m.Data)
		if err != nil {
			batch.Unreadable = append(batch.Unreadable, Unreadable{
				Stream: step.Stream, Sequence: m.Sequence, Subject: m.Subject, Headers: m.Header, Data: m.Data, Reason: err.Error(),
			})
			continue
		}
		batch.DeadLetters = append(batch.DeadLetters, record)
	}
	if step.Added, err = r.o.Store.Rebuild(ctx, batch, dryRun, by); err != nil {
		return step, err
	}
	if step.Next > step.Last { // on to the next stream
		step.Done = i == len(streams)-1
		if !step.Done {
			step.Stream, step.Next, step.Last = streams[i+1], 1, 0
		}
	}
	return step, nil
}

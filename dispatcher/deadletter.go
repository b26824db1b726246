package dispatcher

import (
	"context"
	"fmt"
	"time"

	"relay/dlqstore"
)

// publishDead stores a dead letter: in its stream, and first in the table what does not
// fit there.
func (r *route) publishDead(ctx context.Context, d *delivery, out Outcome) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	rec := dlqstore.Record{
		DeadLetter: dlqstore.DeadLetter{
			ID: d.ID, Route: r.cfg.Name, State: dlqstore.Dead, Reason: out.Reason, OriginalSubject: d.Subject,
			Payload: d.Body, Headers: d.Headers, Error: out.Error, Status: out.Status, RetryCount: out.Attempt,
			ConsumerName: d.lane.consumer, Stream: d.Stream, StreamSequence: d.Sequence,
			PublishedAt: d.EventTime, FailedAt: time.Now(), ReplayOf: d.editOf(),
		},
		Replay: d.replay,
	}
	subject := r.cfg.DeadLetter.Subject(r.cfg.Name, d.Subject)
	m := rec.Encode(subject)
	size := dlqstore.HeaderBytes(m.Header)
	if size > dlqstore.MaxHeaderBytes || int64(size+len(m.Data)) > r.shared.conn.MaxPayload() {
		if r.shared.overflow == nil {
			return fmt.Errorf("dead letter %s of %d bytes is above the server's max_payload, and there is no database to keep it in", d.ID, size+len(m.Data))
		}
		if err := r.shared.overflow.Project(ctx, dlqstore.Batch{DeadLetters: []dlqstore.Record{rec}}); err != nil {
			return fmt.Errorf("keep the oversize dead letter %s in the table: %w", d.ID, err)
		}
		rec.Reference = true
		m = rec.Encode(subject)
	}
	if _, err := r.shared.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish the dead letter to stream %q on %s: %w", r.cfg.DeadLetter.Stream, subject, err)
	}
	return nil
}

// editOf is the id of the dead letter of which this delivery is an edited replay.
func (d *delivery) editOf() string {
	if d.ReplayOf == d.ID {
		return ""
	}
	return d.ReplayOf
}

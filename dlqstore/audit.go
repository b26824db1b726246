package dlqstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Action is what an audit entry tells of.
type Action string

// The actions.
const (
	ActionReplay       Action = "replay"
	ActionEdit         Action = "edit_and_replay"
	ActionDiscard      Action = "discard"
	ActionRestore      Action = "restore"
	ActionDelivered    Action = "delivered"  // a replay got through; relay saw it
	ActionDied         Action = "died_again" // a replay died; relay saw it
	ActionResend       Action = "resend"     // the replay lane lost a replay; relay saw it
	ActionImport       Action = "import"     // from another relay
	ActionRebuild      Action = "rebuild"    // from the stream
	ActionPrune        Action = "prune"      // retention; relay did it
	ActionJobStarted   Action = "job_started"
	ActionJobPaused    Action = "job_paused" // by relay too, when too many died again
	ActionJobRunning   Action = "job_running"
	ActionJobRate      Action = "job_rate"
	ActionJobCancelled Action = "job_cancelled"
	ActionJobDone      Action = "job_done" // relay saw it
)

// Actions returns all actions.
func Actions() []Action {
	return []Action{ActionReplay, ActionEdit, ActionDiscard, ActionRestore, ActionDelivered, ActionDied, ActionResend,
		ActionImport, ActionRebuild, ActionPrune, ActionJobStarted, ActionJobPaused, ActionJobRunning, ActionJobRate,
		ActionJobCancelled, ActionJobDone}
}

// relayActor stands in the audit for what relay saw by itself.
const relayActor = "relay"

// AuditEntry is one change, and who made it. Nobody can change or delete it.
type AuditEntry struct {
	ID           int64
	At           time.Time
	Actor        Actor // its name is "relay" for what relay saw by itself
	Action       Action
	DeadLetterID string // empty: many were meant
	Route        string // empty: several were meant
	Reason       string
	// BeforeSHA256 and AfterSHA256 are of the payload, in hex; empty when it was not edited.
	BeforeSHA256 string
	AfterSHA256  string
	Detail       json.RawMessage // an object: the number of the replay, a job's id, filter and count
}

// AuditFilter chooses audit entries. Zero fields choose all.
type AuditFilter struct {
	Actor        string
	Action       Action
	DeadLetterID string
	Route        string
	Since        time.Time // at this time or later
	Until        time.Time // before this time
}

// AuditList is one page of the audit.
type AuditList struct {
	Entries []AuditEntry
	Next    string // cursor of the next page; empty: this was the last
}

func (s *store) Audit(ctx context.Context, f AuditFilter, p Page) (AuditList, error) {
	w := &conditions{}
	for _, c := range []struct{ column, value string }{
		{"actor", f.Actor}, {"action", string(f.Action)}, {"dead_letter_id", f.DeadLetterID}, {"route", f.Route},
	} {
		if c.value != "" {
			w.add(c.column + ` = ` + w.arg(c.value))
		}
	}
	whereTime(w, "at", f.Since, f.Until)
	if p.Cursor != "" {
		at, text, err := parseCursor(p.Cursor)
		id, notNumber := strconv.ParseInt(text, 10, 64)
		if err != nil || notNumber != nil {
			return AuditList{}, ErrCursor
		}
		w.add(`(at, id) < (` + w.arg(at) + `, ` + w.arg(id) + `)`)
	}
	limit := p.limit()
	//nolint:gosec // constants and the numbers of parameters
	query := `SELECT id, at, actor, source, action, coalesce(dead_letter_id, ''), route, reason, before_sha256, after_sha256, detail
		FROM audit` + w.sql() + ` ORDER BY at DESC, id DESC LIMIT ` + strconv.Itoa(limit+1)
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	entries, err := collect(rows, err, func(s scanner) (e AuditEntry, err error) {
		var detail string
		err = s.Scan(&e.ID, (*stamp)(&e.At), &e.Actor.Name, &e.Actor.Source, &e.Action, &e.DeadLetterID, &e.Route, &e.Reason,
			&e.BeforeSHA256, &e.AfterSHA256, &detail)
		e.Detail = json.RawMessage(detail)
		return e, err
	})
	if err != nil {
		return AuditList{}, fmt.Errorf("list the audit: %w", err)
	}
	list := AuditList{Entries: entries}
	if len(entries) > limit {
		last := entries[limit-1]
		list.Entries, list.Next = entries[:limit], formatCursor(last.At, strconv.FormatInt(last.ID, 10))
	}
	return list, nil
}

type auditRow struct {
	action        Action
	id            string // empty: it is about many
	route         string // of those many; of one, its own is found
	by            Actor  // zero: relay
	reason        string
	before, after string // SHA-256 of the payload, of edits only
	detail        map[string]any
}

// scanReplay reads a dead letter's id and the number of its replay, of which the action tells.
func scanReplay(action Action, s scanner) (auditRow, error) {
	a := auditRow{action: action}
	var replay int
	err := s.Scan(&a.id, &replay)
	a.detail = map[string]any{"replay": replay}
	return a, err
}

// audit records changes in the transaction that makes them.
func (s *store) audit(ctx context.Context, tx *sql.Tx, rows ...auditRow) error {
	if len(rows) == 0 {
		return nil
	}
	list := make([]map[string]any, len(rows))
	for i, a := range rows {
		if a.by == (Actor{}) {
			a.by.Name = relayActor
		}
		if a.detail == nil {
			a.detail = map[string]any{}
		}
		list[i] = map[string]any{
			"actor": cleanText(a.by.Name), "source": cleanText(a.by.Source), "action": a.action, "id": a.id, "route": a.route,
			"reason": cleanText(a.reason), "before": a.before, "after": a.after, "detail": a.detail,
		}
	}
	//nolint:gosec // constants only
	insert := `INSERT INTO audit
			(at, actor, source, action, dead_letter_id, route, reason, before_sha256, after_sha256, detail)
		SELECT $2, value ->> 'actor', value ->> 'source', value ->> 'action', nullif(value ->> 'id', ''),
			coalesce(d.route, value ->> 'route'), value ->> 'reason', value ->> 'before', value ->> 'after', value -> 'detail'
		FROM ` + fmt.Sprintf(s.dialect.elements, 1) + ` AS entry LEFT JOIN dead_letters AS d ON d.id = value ->> 'id'`
	if _, err := tx.ExecContext(ctx, insert, string(mustJSON(list)), formatStamp(time.Now())); err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}

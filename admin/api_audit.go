package admin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"relay/dlqstore"
)

// auditJSON is one change, and who made it.
type auditJSON struct {
	ID           int64           `json:"id"`
	At           time.Time       `json:"at"`
	Actor        string          `json:"actor"` // relay: what relay saw by itself
	Source       string          `json:"source"`
	Action       dlqstore.Action `json:"action"`
	DeadLetterID string          `json:"dead_letter_id"` // empty: many were meant
	Route        string          `json:"route"`          // empty: several were meant
	Reason       string          `json:"reason"`
	BeforeSHA256 string          `json:"before_sha256"`
	AfterSHA256  string          `json:"after_sha256"`
	Detail       json.RawMessage `json:"detail"`
}

// auditParameters are the names under which a query chooses audit entries.
func auditParameters() []string {
	return []string{"actor", "action", "dead_letter", "route", "since", "until", "limit", "cursor"}
}

// parseAudit reads the parameters of a list of audit entries.
func parseAudit(q url.Values, now time.Time) (f dlqstore.AuditFilter, p dlqstore.Page, err error) {
	for _, name := range auditParameters() {
		if err := checkText(name, q.Get(name)); err != nil {
			return f, p, err
		}
	}
	f.Actor, f.DeadLetterID, f.Route, p.Cursor = q.Get("actor"), q.Get("dead_letter"), q.Get("route"), q.Get("cursor")
	var errs [3]error
	f.Action, errs[0] = oneOf("action", dlqstore.Action(q.Get("action")), dlqstore.Actions())
	f.Since, f.Until, errs[1] = parseSpan(q, now)
	p.Limit, errs[2] = parseNumber("limit", q.Get("limit"), 1, 500)
	return f, p, cmp.Or(errs[:]...)
}

func (s *Server) listAudit(w http.ResponseWriter, r *http.Request) error {
	query, err := strictQuery(r, auditParameters()...)
	if err != nil {
		return err
	}
	filter, page, err := parseAudit(query, s.now())
	if err != nil {
		return err
	}
	list, err := s.opts.Store.Audit(r.Context(), filter, page)
	if err != nil {
		return err
	}
	out := make([]auditJSON, len(list.Entries))
	for i, e := range list.Entries {
		out[i] = auditJSON{
			ID: e.ID, At: e.At.UTC(), Actor: e.Actor.Name, Source: e.Actor.Source, Action: e.Action,
			DeadLetterID: e.DeadLetterID, Route: e.Route, Reason: e.Reason,
			BeforeSHA256: e.BeforeSHA256, AfterSHA256: e.AfterSHA256, Detail: e.Detail,
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"audit": out, "next_cursor": list.Next})
	return nil
}

// itemJSON is one dead letter of a replay job.
type itemJSON struct {
	Position        int                `json:"position"`
	State           dlqstore.ItemState `json:"state"`
	DeadLetterID    string             `json:"dead_letter_id"`
	Replay          int                `json:"replay"` // 0: none yet
	Route           string             `json:"route"`
	OriginalSubject string             `json:"original_subject"`
	Error           string             `json:"error"` // of its last death
}

func (s *Server) listReplayItems(w http.ResponseWriter, r *http.Request) error {
	query, err := strictQuery(r, "state", "limit", "cursor")
	if err != nil {
		return err
	}
	state, err := oneOf("state", dlqstore.ItemState(query.Get("state")), dlqstore.ItemStates())
	if err != nil {
		return err
	}
	page := dlqstore.Page{Cursor: query.Get("cursor")}
	if page.Limit, err = parseNumber("limit", query.Get("limit"), 1, 500); err != nil {
		return err
	}
	list, err := s.opts.Store.JobItems(r.Context(), r.PathValue("id"), state, page)
	if err != nil {
		return err
	}
	out := make([]itemJSON, len(list.Items))
	for i, item := range list.Items {
		out[i] = itemJSON(item)
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": out, "next_cursor": list.Next})
	return nil
}

package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"relay/dlqstore"
)

type auditView struct {
	frame
	Actor, DeadLetter string // as typed
	Actions           []choice
	Routes            []choice
	Ages              []choice
	Filters           bool
	Wrong             string
	Rows              []auditRow
	Pager             pager
}

// auditRow is one change in words.
type auditRow struct {
	At          moment
	By, Source  string
	Action      string
	Route       string
	RoutePath   string
	ID, Path    string // of the dead letter
	Job         string
	JobPath     string
	Copy        string // id of the edited copy
	CopyPath    string
	Detail      string
	Fingerprint string // of what was edited: SHA-256 before and after
}

const auditPath = "/audit"

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	view := auditView{
		frame: s.frame(r, "Audit", "audit"), Actor: query.Get("actor"), DeadLetter: query.Get("dead_letter"),
		Actions: choices(dlqstore.Actions(), query.Get("action")), Routes: choices(s.routeNames(), query.Get("route")),
		Ages: ages(query.Get("since")),
	}
	for _, name := range []string{"actor", "action", "dead_letter", "route", "since", "until"} {
		view.Filters = view.Filters || query.Get(name) != ""
	}
	filter, page, err := parseAudit(query, s.now())
	if err != nil {
		view.Wrong = sentence(err.Error())
		return render(w, s.pages.audit, http.StatusBadRequest, view)
	}
	list, err := s.opts.Store.Audit(r.Context(), filter, page)
	if err != nil {
		return err
	}
	view.Rows, view.Pager = s.auditRows(list.Entries), pagerOf(auditPath, query, list.Next)
	return render(w, s.pages.audit, http.StatusOK, view)
}

// shownTrail is how many of the newest changes the page of a dead letter shows.
const shownTrail = 50

// trail is what was done to a dead letter, newest first, and the path of all of it.
func (s *Server) trail(ctx context.Context, id string) (rows []auditRow, more string, err error) {
	list, err := s.opts.Store.Audit(ctx, dlqstore.AuditFilter{DeadLetterID: id}, dlqstore.Page{Limit: shownTrail})
	if list.Next != "" {
		more = auditPath + "?" + url.Values{"dead_letter": {id}}.Encode()
	}
	return s.auditRows(list.Entries), more, err
}

func (s *Server) auditRows(entries []dlqstore.AuditEntry) []auditRow {
	rows := make([]auditRow, len(entries))
	for i, e := range entries {
		row := auditRow{
			At: s.moment(e.At), By: visible(e.Actor.Name), Source: visible(e.Actor.Source), Action: actionText(e.Action),
			Route: cut(visible(e.Route), maxCell), ID: visible(e.DeadLetterID), Detail: visible(e.Reason),
		}
		if e.Route != "" {
			row.RoutePath = routePath(e.Route)
		}
		if idPattern.MatchString(e.DeadLetterID) {
			row.Path = deadLetterPath(e.DeadLetterID)
		}
		if e.BeforeSHA256 != "" {
			row.Fingerprint = cut(e.BeforeSHA256, 13) + " → " + cut(e.AfterSHA256, 13)
		}
		row.tell(e.Detail)
		rows[i] = row
	}
	return rows
}

// tell adds what the entry's detail says.
func (row *auditRow) tell(detail json.RawMessage) {
	var d struct {
		Replay int              `json:"replay"`
		Job    string           `json:"job"`
		Copy   string           `json:"copy"`
		Count  *int             `json:"count"`
		Filter *dlqstore.Filter `json:"filter"`
		Rate   *float64         `json:"rate_per_second"`
		Before float64          `json:"rate_before"`
	}
	if err := json.Unmarshal(detail, &d); err != nil {
		return // a later relay wrote it; the entry's columns are told all the same
	}
	if d.Job != "" {
		row.Job, row.JobPath = visible(d.Job), jobPath(d.Job)
	}
	if idPattern.MatchString(d.Copy) {
		row.Copy, row.CopyPath = d.Copy, deadLetterPath(d.Copy)
	}
	var words []string
	if row.Detail != "" {
		words = append(words, row.Detail)
	}
	if d.Replay > 0 {
		words = append(words, "replay "+digits(d.Replay))
	}
	if d.Rate != nil {
		words = append(words, rateText(d.Before)+" → "+rateText(*d.Rate))
	}
	if d.Count != nil {
		words = append(words, count(*d.Count, "dead letter"))
	}
	if d.Filter != nil {
		words = append(words, filterText(*d.Filter))
	}
	row.Detail = strings.Join(words, ", ")
}

// actionText is an action in words.
func actionText(a dlqstore.Action) string {
	words := map[dlqstore.Action]string{
		dlqstore.ActionReplay:       "Replayed",
		dlqstore.ActionEdit:         "Edited and replayed",
		dlqstore.ActionDiscard:      "Discarded",
		dlqstore.ActionRestore:      "Restored",
		dlqstore.ActionDelivered:    "Delivered by a replay",
		dlqstore.ActionDied:         "Died again",
		dlqstore.ActionResend:       "Sent anew, lost before",
		dlqstore.ActionImport:       "Imported",
		dlqstore.ActionRebuild:      "Rebuilt from the stream",
		dlqstore.ActionPrune:        "Deleted by retention",
		dlqstore.ActionJobStarted:   "Replay job started",
		dlqstore.ActionJobPaused:    "Replay job paused",
		dlqstore.ActionJobRunning:   "Replay job resumed",
		dlqstore.ActionJobRate:      "Replay job rate changed",
		dlqstore.ActionJobCancelled: "Replay job cancelled",
		dlqstore.ActionJobDone:      "Replay job done",
	}
	return cmp.Or(words[a], sentence(visible(strings.ReplaceAll(string(a), "_", " "))))
}

package admin_test

import (
	"net/http"
	"testing"

	"relay/dlqstore"
)

func TestAudit(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(0, nil), dead(1, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }))
	s.post("/api/v1/dead-letters/"+ids[0]+"/discard", `{"reason":"test traffic"}`)
	s.post("/api/v1/dead-letters/"+ids[0]+"/restore", "")
	s.post("/api/v1/dead-letters/"+ids[1]+"/replay", `{"payload_base64":"eA=="}`)

	type entry struct {
		Actor, Source, Action, Route, Reason string
		DeadLetterID                         string         `json:"dead_letter_id"`
		Before                               string         `json:"before_sha256"`
		After                                string         `json:"after_sha256"`
		Detail                               map[string]any `json:"detail"`
	}
	list := func(query string) (actions []string, first entry, next string) {
		t.Helper()
		var l struct {
			Audit []entry
			Next  string `json:"next_cursor"`
		}
		s.decode(s.get("/api/v1/audit?"+query), &l)
		for _, e := range l.Audit {
			actions = append(actions, e.Action)
		}
		if len(l.Audit) > 0 {
			first = l.Audit[0]
		}
		return actions, first, l.Next
	}
	actions, _, _ := list("")
	if len(actions) != 3 || actions[0] != "edit_and_replay" || actions[1] != "restore" || actions[2] != "discard" {
		t.Fatalf("all: got %q", actions)
	}
	for query, want := range map[string]int{
		"dead_letter=" + ids[0]: 2, "route=orders-to-search": 1, "action=restore": 1, "actor=anonymous": 3, "actor=nobody": 0,
		"since=1h": 3, "until=2020-01-01": 0,
	} {
		if got, _, _ := list(query); len(got) != want {
			t.Errorf("%s: got %q, want %d", query, got, want)
		}
	}
	_, discard, _ := list("action=discard")
	if discard.Reason != "test traffic" || discard.DeadLetterID != ids[0] || discard.Route != "orders-to-billing" || discard.Source == "" || discard.Before != "" {
		t.Errorf("discard: got %+v", discard)
	}
	_, edit, _ := list("action=edit_and_replay")
	if len(edit.Before) != 64 || len(edit.After) != 64 || edit.Detail["copy"] == nil {
		t.Errorf("edit: got %+v", edit)
	}
	_, _, next := list("limit=2")
	if rest, _, end := list("limit=2&cursor=" + next); len(rest) != 1 || end != "" {
		t.Errorf("second page: got %q and cursor %q", rest, end)
	}
	for _, query := range []string{"acton=discard", "action=none", "since=yesterday", "limit=0", "cursor=x"} {
		if got := s.get("/api/v1/audit?" + query); got.status != http.StatusBadRequest || s.code(got) != "invalid_parameter" {
			t.Errorf("%s: got %d %s", query, got.status, got.body)
		}
	}
}

func TestReplayItems(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(0, nil), dead(1, nil), dead(2, nil))
	var job jobShown
	s.decode(s.post("/api/v1/replays", `{"filter":{}}`), &job)
	path := "/api/v1/replays/" + job.ID + "/items"
	type items struct {
		Items []struct {
			State, Route, Error string
			DeadLetterID        string `json:"dead_letter_id"`
		}
		Next string `json:"next_cursor"`
	}
	var first, second items
	s.decode(s.get(path+"?state=pending&limit=2"), &first)
	s.decode(s.get(path+"?limit=2&cursor="+first.Next), &second)
	if len(first.Items) != 2 || first.Items[0].DeadLetterID != ids[0] || first.Items[0].State != "pending" ||
		first.Items[0].Route != "orders-to-billing" || len(second.Items) != 1 || second.Next != "" {
		t.Errorf("got %+v and %+v", first, second)
	}
	if got := s.get(path + "?state=delivered").body; got != `{"items":[],"next_cursor":""}`+"\n" {
		t.Errorf("none: got %s", got)
	}
	for query, want := range map[string]int{
		path + "?state=dead": http.StatusBadRequest, path + "?cursor=x": http.StatusBadRequest, "/api/v1/replays/rpl_none/items": http.StatusNotFound,
	} {
		if got := s.get(query); got.status != want {
			t.Errorf("%s: got %d %s", query, got.status, got.body)
		}
	}
}

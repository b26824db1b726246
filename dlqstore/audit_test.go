package dlqstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"relay/dlqstore"
)

func testAudit(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	project(t, s, letter(1))
	check(t, s.Discard(t.Context(), letter(1).ID, "", alice))
	for _, change := range []string{`UPDATE audit SET actor = 'nobody'`, `DELETE FROM audit`} {
		if _, err := raw.Exec(change); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got error %v, want append-only", change, err)
		}
	}
}

// entries are the chosen audit entries as one line each, read in pages of two.
func entries(t *testing.T, s dlqstore.Store, f dlqstore.AuditFilter) []string {
	t.Helper()
	var lines []string
	for cursor, more := "", true; more; more = cursor != "" {
		list, err := s.Audit(t.Context(), f, dlqstore.Page{Limit: 2, Cursor: cursor})
		check(t, err)
		if cursor = list.Next; len(list.Entries) > 2 || cursor != "" && len(list.Entries) < 2 {
			t.Fatalf("a page of %d", len(list.Entries))
		}
		for _, e := range list.Entries {
			lines = append(lines, fmt.Sprintf("%s %s %s %s", e.Actor.Name, e.Action, e.Route, e.Reason))
		}
	}
	return lines
}

func testAuditList(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	begin := time.Now().Add(-time.Second)
	orders := letters(t, s, "orders", 0, 3)
	other := letters(t, s, "other", 10, 1)
	check(t, s.Discard(t.Context(), orders[0].ID, "test \"traffic\"\x00", alice))
	check(t, s.Restore(t.Context(), orders[0].ID, bob))
	edited, err := s.StartReplay(t.Context(), orders[1].ID, &dlqstore.Edit{Payload: []byte("mended")}, alice)
	check(t, err)
	_, err = s.StartReplay(t.Context(), other[0].ID, nil, bob)
	check(t, err)
	end(t, s, false, other[0])
	job := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders"}, Limit: 1})
	startJob(t, s, dlqstore.JobSpec{}) // of both routes
	advance(t, s, job.ID)
	end(t, s, true, orders[0])
	advance(t, s, job.ID)

	all := entries(t, s, dlqstore.AuditFilter{})
	want(t, "all", strings.Join(all, "\n"), strings.Join([]string{
		"relay job_done orders ", "relay delivered orders ", "alice replay orders ",
		"alice job_started  ", "alice job_started orders ", "relay died_again other ", "bob replay other ",
		"alice edit_and_replay orders ", "bob restore orders ", "alice discard orders test \"traffic\"\uFFFD",
	}, "\n"))
	for name, tt := range map[string]struct {
		filter dlqstore.AuditFilter
		want   int
	}{
		"who":                 {dlqstore.AuditFilter{Actor: "bob"}, 2},
		"action":              {dlqstore.AuditFilter{Action: dlqstore.ActionJobStarted}, 2},
		"route":               {dlqstore.AuditFilter{Route: "other"}, 2},
		"trail of one":        {dlqstore.AuditFilter{DeadLetterID: orders[0].ID}, 4},
		"who and what":        {dlqstore.AuditFilter{Actor: "alice", Action: dlqstore.ActionDiscard}, 1},
		"since":               {dlqstore.AuditFilter{Since: begin}, len(all)},
		"until":               {dlqstore.AuditFilter{Until: begin}, 0},
		"nobody":              {dlqstore.AuditFilter{Actor: "nobody"}, 0},
		"a NUL finds no more": {dlqstore.AuditFilter{Actor: "bob\x00"}, 0},
	} {
		if got := entries(t, s, tt.filter); len(got) != tt.want {
			t.Errorf("%s: got %d entries, want %d: %q", name, len(got), tt.want, got)
		}
	}
	list, err := s.Audit(t.Context(), dlqstore.AuditFilter{Action: dlqstore.ActionEdit}, dlqstore.Page{})
	check(t, err)
	e := list.Entries[0]
	want(t, "edit", fmt.Sprintf("%s %v %d %d %q", e.DeadLetterID, e.Actor, len(e.BeforeSHA256), len(e.AfterSHA256), strings.ReplaceAll(string(e.Detail), " ", "")),
		fmt.Sprintf("%s %v 64 64 %q", orders[1].ID, alice, `{"copy":"`+edited.ID+`"}`))
	for _, cursor := range []string{"x", "MjAyNi0wMS0wMVQwMDowMDowMC4wMDAwMDBaeA"} {
		_, err = s.Audit(t.Context(), dlqstore.AuditFilter{}, dlqstore.Page{Cursor: cursor})
		want(t, "error of cursor "+cursor, errors.Is(err, dlqstore.ErrCursor), true)
	}
}

func testJobItems(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 6)
	job := startJob(t, s, dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders"}, Limit: 5})
	check(t, s.Discard(t.Context(), list[2].ID, "", bob))
	advance(t, s, job.ID)
	end(t, s, true, list[0])
	end(t, s, false, list[1])
	advance(t, s, job.ID)
	_, err := raw.Exec(`DELETE FROM dead_letters WHERE id = '` + list[2].ID + `'`)
	check(t, err)
	items := func(state dlqstore.ItemState) string {
		var text string
		for cursor, more := "", true; more; more = cursor != "" {
			page, err := s.JobItems(t.Context(), job.ID, state, dlqstore.Page{Limit: 2, Cursor: cursor})
			check(t, err)
			for _, i := range page.Items {
				want(t, "id", i.DeadLetterID, list[i.Position-1].ID)
				text += fmt.Sprintf("%d %s replay %d %s %s %s\n", i.Position, i.State, i.Replay, i.Route, i.OriginalSubject, i.Error)
			}
			cursor = page.Next
		}
		return text
	}
	want(t, "all items", items(""), `1 delivered replay 1 orders orders.created 503 Service Unavailable
2 failed replay 1 orders orders.created replay 1: 422
3 skipped replay 0   
4 sent replay 1 orders orders.created 503 Service Unavailable
5 sent replay 1 orders orders.created 503 Service Unavailable
`)
	want(t, "failed items", items(dlqstore.ItemFailed), "2 failed replay 1 orders orders.created replay 1: 422\n")
	_, err = s.JobItems(t.Context(), "rpl_none", "", dlqstore.Page{})
	want(t, "error of an unknown job", errors.Is(err, dlqstore.ErrNoJob), true)
	_, err = s.JobItems(t.Context(), job.ID, "", dlqstore.Page{Cursor: "x"})
	want(t, "error of a bad cursor", errors.Is(err, dlqstore.ErrCursor), true)
}

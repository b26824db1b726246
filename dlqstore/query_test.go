package dlqstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"relay/dlqstore"
)

func testFilters(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	subjects := []string{"orders.created", "orders.eu.created", "orders.eu.de.created", "order", "orders", `odd."quote\.x`, "ordersx.created"}
	var all []any
	for n, subject := range subjects {
		r := letter(n)
		r.OriginalSubject = subject
		all = append(all, r)
	}
	special := letter(len(subjects))
	special.Route, special.Reason, special.Status, special.OriginalSubject = "other", dlqstore.Poison, 0, strings.Repeat("long.", 700)+"end"
	special.Error, special.Payload, special.RetryCount = "100% of Ärger_", []byte("\x00binary\xff"), 20
	project(t, s, append(all, special)...)
	check(t, s.Discard(t.Context(), letter(2).ID, "", alice))

	cases := map[string]struct {
		filter dlqstore.Filter
		want   []int
	}{
		"all":                {dlqstore.Filter{}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		"route":              {dlqstore.Filter{Route: "other"}, []int{7}},
		"reason":             {dlqstore.Filter{Reason: dlqstore.Poison}, []int{7}},
		"status":             {dlqstore.Filter{Status: 503, Route: "other"}, nil},
		"state":              {dlqstore.Filter{State: dlqstore.Discarded}, []int{2}},
		"ids":                {dlqstore.Filter{IDs: []string{letter(1).ID, letter(3).ID, "msg_none"}}, []int{3, 1}},
		"no ids":             {dlqstore.Filter{IDs: []string{}}, nil},
		"subject":            {dlqstore.Filter{Subject: "orders.created"}, []int{0}},
		"subject star":       {dlqstore.Filter{Subject: "orders.*.created"}, []int{1}},
		"subject last star":  {dlqstore.Filter{Subject: "orders.*"}, []int{0}},
		"subject two stars":  {dlqstore.Filter{Subject: "orders.*.*.created"}, []int{2}},
		"subject first star": {dlqstore.Filter{Subject: "*.eu.>"}, []int{2, 1}},
		"subject tail":       {dlqstore.Filter{Subject: "orders.>"}, []int{2, 1, 0}},
		"subject every":      {dlqstore.Filter{Subject: ">"}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		"subject quote":      {dlqstore.Filter{Subject: `odd."quote\.*`}, []int{5}},
		"subject long":       {dlqstore.Filter{Subject: special.OriginalSubject}, []int{7}},
		"subject cut":        {dlqstore.Filter{Subject: special.OriginalSubject[:500]}, nil},
		"subject long tail":  {dlqstore.Filter{Subject: strings.Repeat("long.", 600) + ">"}, []int{7}},
		"attempts":           {dlqstore.Filter{MinAttempts: 20}, []int{7}},
		"too many attempts":  {dlqstore.Filter{MinAttempts: 21}, nil},
		"attempts and text":  {dlqstore.Filter{MinAttempts: 2, Query: "EU.de"}, []int{2}},
		"since":              {dlqstore.Filter{Since: letter(6).FailedAt}, []int{7, 6}},
		"until":              {dlqstore.Filter{Until: letter(1).FailedAt}, []int{0}},
		"query id":           {dlqstore.Filter{Query: letter(4).ID}, []int{4}},
		"query subject":      {dlqstore.Filter{Query: "EU.de"}, []int{2}},
		"query error":        {dlqstore.Filter{Query: "100% OF"}, []int{7}},
		"query literal":      {dlqstore.Filter{Query: "1_0%"}, nil},
		"query payload":      {dlqstore.Filter{Query: `"n": 3}`}, []int{3}},
		"query bytes":        {dlqstore.Filter{Query: "\x00binary\xff"}, []int{7}},
		"query not text":     {dlqstore.Filter{Query: "\xfe"}, nil},
		"a route not text":   {dlqstore.Filter{Route: "\x00\xfe"}, nil},
		"several":            {dlqstore.Filter{Route: "orders", State: dlqstore.Dead, Subject: "orders.>", Status: 503}, []int{1, 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			list, err := s.List(t.Context(), c.filter, dlqstore.Page{})
			check(t, err)
			var got []int
			for _, d := range list.DeadLetters {
				got = append(got, int(d.StreamSequence))
			}
			want(t, "chosen", got, c.want)
			n, err := s.Count(t.Context(), c.filter)
			check(t, err)
			want(t, "count", n, len(c.want))
		})
	}
}

func testPaging(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	var all []any
	var wanted []string
	for n := range 12 {
		r := letter(n)
		r.FailedAt = noon.Truncate(time.Second).Add(time.Duration(n/4) * 100 * time.Millisecond) // equal times: the id decides
		r.Reason, r.Status = dlqstore.Rejected, 400+n%5                                          // of several kinds
		all = append(all, r)
		wanted = append(wanted, r.FailedAt.Format(time.StampMicro)+r.ID)
	}
	project(t, s, all...)
	slices.Sort(wanted)
	slices.Reverse(wanted)
	for i, f := range []dlqstore.Filter{
		{Route: "orders"}, {Reason: dlqstore.Rejected}, {Reason: dlqstore.Rejected, State: dlqstore.Dead, Since: noon.Add(-time.Hour)},
		{Reason: dlqstore.Rejected, Subject: "orders.created"}, {Reason: dlqstore.Rejected, Subject: "orders.*"},
		{Reason: dlqstore.Rejected, MinAttempts: 1}, {Reason: dlqstore.Rejected, Query: `"n":`},
	} {
		var got []string
		page := dlqstore.Page{Limit: 5}
		for {
			list, err := s.List(t.Context(), f, page)
			check(t, err)
			for _, d := range list.DeadLetters {
				got = append(got, d.FailedAt.Format(time.StampMicro)+d.ID)
			}
			if list.Next == "" {
				break
			}
			if i == 0 && page.Cursor == "" { // rows that arrive are newer and disturb nothing
				project(t, s, letter(99))
			}
			page.Cursor = list.Next
		}
		want(t, fmt.Sprintf("pages of %+v", f), got, wanted)
	}
	list, err := s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{Limit: 13})
	check(t, err)
	want(t, "next of a page that is all", list.Next, "")
	for _, cursor := range []string{"x", "!", "AAAA", strings.Repeat("A", 60)} {
		_, err := s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{Cursor: cursor})
		want(t, "error of cursor "+cursor, errors.Is(err, dlqstore.ErrCursor), true)
	}
}

func testLargePages(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	for n := range 5 {
		r := letter(n)
		r.Payload = make([]byte, 5<<20)
		project(t, s, r)
	}
	list, err := s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{})
	check(t, err)
	want(t, "first page", len(list.DeadLetters), 3)
	list, err = s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{Cursor: list.Next})
	check(t, err)
	want(t, "second page", fmt.Sprint(len(list.DeadLetters), list.Next), "2")

	project(t, s, attempt(letter(0), 0, 1, "nak"))
	brief, err := s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{Brief: true})
	check(t, err)
	want(t, "brief page", fmt.Sprint(len(brief.DeadLetters), brief.Next), "5")
	got, all := brief.DeadLetters[3], list.DeadLetters[0]
	all.Payload, all.Headers, all.Response, all.Attempts = nil, nil, nil, nil
	want(t, "brief", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", all))
}

// testSearchDepth has more dead letters than a search for text looks at.
func testSearchDepth(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	old := letter(0)
	old.Payload, old.Reason = []byte("needle"), dlqstore.Poison
	project(t, s, old, letter(1))
	_, err := raw.Exec(`INSERT INTO dead_letters (id, route, state, reason, original_subject, payload, headers, error, status, retry_count,
			consumer_name, stream, stream_sequence, published_at, failed_at, family, replay_count, died_in, changed_at)
		WITH RECURSIVE g (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM g WHERE n <= 10000)
		SELECT 'copy ' || n, route, state, reason, original_subject, payload, headers, error, status, retry_count,
			consumer_name, stream, stream_sequence, published_at, failed_at, family, replay_count, died_in, changed_at
		FROM dead_letters, g WHERE id = '` + letter(1).ID + `'`)
	check(t, err)
	f := dlqstore.Filter{Query: "needle", Route: "orders"}
	list, err := s.List(t.Context(), f, dlqstore.Page{})
	check(t, err)
	want(t, "first page", fmt.Sprint(len(list.DeadLetters), list.Next == "", list.SearchedTo.Equal(letter(1).FailedAt)), "0 false true")
	n, err := s.Count(t.Context(), f)
	check(t, err)
	want(t, "count", n, 0)
	list, err = s.List(t.Context(), f, dlqstore.Page{Cursor: list.Next})
	check(t, err)
	want(t, "second page", fmt.Sprint(len(list.DeadLetters), list.Next, list.SearchedTo.IsZero()), "1true")
	list, err = s.List(t.Context(), dlqstore.Filter{Query: old.ID}, dlqstore.Page{})
	check(t, err)
	want(t, "an id is found however old", len(list.DeadLetters), 1)
	for _, few := range []dlqstore.Filter{
		{Query: "needle", Reason: dlqstore.Poison}, {Subject: "*.created", Reason: dlqstore.Poison}, {MinAttempts: 8, Reason: dlqstore.Poison},
		{Subject: "orders.created", Reason: dlqstore.Poison}, {Route: "orders", Reason: dlqstore.Poison},
	} {
		list, err = s.List(t.Context(), few, dlqstore.Page{})
		check(t, err)
		want(t, fmt.Sprintf("of few, all are looked at: %+v", few), fmt.Sprint(len(list.DeadLetters), list.Next), "1")
	}
	n, err = s.Count(t.Context(), dlqstore.Filter{Subject: "*.created"})
	check(t, err)
	want(t, "of a wide pattern the newest are looked at", n, 10000)
	groups, err := s.Groups(t.Context(), dlqstore.Filter{Query: "503"}, 0)
	check(t, err)
	want(t, "groups of what a search looked at", groups[0].Count+groups[1].Count, 10000)
	n, err = s.Count(t.Context(), dlqstore.Filter{Route: "orders"})
	check(t, err)
	want(t, "a count stops", n, dlqstore.MaxCount+1)
	n, err = s.CountReplay(t.Context(), dlqstore.JobSpec{Filter: f})
	check(t, err)
	want(t, "a replay looks at all", n, 1)
}

// testManyAttempts has what a route with hardly a limit of attempts leaves.
func testManyAttempts(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	few, many := letter(1), letter(2)
	events := []any{few, many, attempt(few, 0, 1, "nak")}
	for n := range dlqstore.MaxAttempts + 5 {
		events = append(events, attempt(many, 0, n+1, "nak"))
	}
	project(t, s, append(events, attempt(many, 1, 1, "nak"))...)
	list, err := s.List(t.Context(), dlqstore.Filter{}, dlqstore.Page{})
	check(t, err)
	for where, d := range map[string]dlqstore.DeadLetter{"list": list.DeadLetters[0], "get": get(t, s, many.ID)} {
		first, last := d.Attempts[0], d.Attempts[len(d.Attempts)-1]
		want(t, where, fmt.Sprint(len(d.Attempts), first.Replay, first.Number, last.Replay, last.Number), fmt.Sprint(dlqstore.MaxAttempts, 0, 7, 1, 1))
	}
	want(t, "few", len(list.DeadLetters[1].Attempts), 1)
}

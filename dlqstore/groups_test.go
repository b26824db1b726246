package dlqstore_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"relay/dlqstore"
)

// sameCause are errors that people would call the same, line by line.
var sameCause = [][]string{
	{"the receiver answered 503 Service Unavailable"},
	{
		"refused: dial tcp 10.0.0.17:8080: connect: connection refused",
		"refused: dial tcp 127.0.0.1:443: connect: connection refused",
	},
	{"timeout_headers: no answer within 15s", "timeout_headers: no answer within 30s"},
	{"timeout_dial: no answer within 15s"},
	{`malformed: bad header "x"`, `malformed: bad header "a \"y\" b"`, `malformed: bad header ""`},
	{
		"no order 6ba7b810-9dad-11d1-80b4-00c04fd430c8 of msg_2ddtq4rkcuuq7thymhyxz3wxyz",
		"no order 123E4567-E89B-12D3-A456-426614174000 of msg_aaaaq4rkcuuq7thymhyxz3wxyz",
	},
	{"hash da39a3ee5e6b4b0d3255bfef95601890afd80709", "hash deadbeefdeadbeefdeadbeef", "hash cafe4711babe"},
	{"can't do 'this' or that", "can't do 'that thing' or that"},
	{"it isn't and it wasn't"},
	{"it isn't or it wasn't"},
}

func testGroups(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	var all []any
	var wanted []string
	n := 0
	for i, same := range sameCause {
		for range 20 - i { // the largest group first
			r := letter(n)
			r.Error = same[n%len(same)]
			if r.Status = 0; i == 0 {
				r.Status = 503
			}
			all = append(all, r)
			n++
		}
		wanted = append(wanted, fmt.Sprint(20-i, " ", n-1))
	}
	other := letter(n)
	other.Route, other.Error = "other", sameCause[0][0]
	project(t, s, append(all, other)...)

	groups, err := s.Groups(t.Context(), dlqstore.Filter{Route: "orders"}, 0)
	check(t, err)
	var got []string
	for _, g := range groups {
		sample := get(t, s, g.Sample)
		got = append(got, fmt.Sprint(g.Count, " ", sample.StreamSequence))
		want(t, "first and last of "+g.Cause, g.LastSeen.Sub(g.FirstSeen), time.Duration(g.Count-1)*time.Second)
		want(t, "fingerprint of the sample", g.Fingerprint, sample.Fingerprint)
		chosen, err := s.Count(t.Context(), dlqstore.Filter{Route: g.Route, Fingerprint: g.Fingerprint})
		check(t, err)
		want(t, "count by fingerprint", chosen, g.Count)
	}
	want(t, "groups: count, newest", got, wanted)
	want(t, "first", fmt.Sprint(groups[0].Cause, groups[0].ErrorClass, groups[0].Status, groups[0].Reason),
		"the receiver answered 503 Service Unavailable5xx503exhausted")
	want(t, "second", fmt.Sprint(groups[1].Cause, groups[1].ErrorClass, groups[1].Status),
		"refused: dial tcp N.N.N.N:N: connect: connection refusedrefused0")

	check(t, s.Discard(t.Context(), groups[0].Sample, "", alice))
	groups, err = s.Groups(t.Context(), dlqstore.Filter{State: dlqstore.Dead}, 2)
	check(t, err)
	want(t, "dead groups", fmt.Sprint(len(groups), groups[0].Count, groups[1].Count), "2 19 19")
	for _, g := range groups {
		want(t, "state of the sample", get(t, s, g.Sample).State, dlqstore.Dead)
	}

	// The cause of a later death takes the place of the one before.
	project(t, s, again(letter(0), 1))
	d := get(t, s, letter(0).ID)
	want(t, "class", d.ErrorClass, "4xx")
	groups, err = s.Groups(t.Context(), dlqstore.Filter{Fingerprint: d.Fingerprint}, 1)
	check(t, err)
	want(t, "cause", groups[0].Cause, "replay N: 422")
}

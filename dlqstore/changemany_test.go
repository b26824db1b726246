package dlqstore_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"relay/dlqstore"
)

func testChangeMany(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 12)
	other := letters(t, s, "other", 20, 2)
	many := func(c dlqstore.Change, by dlqstore.Actor, wanted int) {
		t.Helper()
		n, err := s.CountChange(t.Context(), c)
		check(t, err)
		want(t, "counted", n, wanted)
		n, err = s.Change(t.Context(), c, by)
		check(t, err)
		want(t, "changed", n, wanted)
	}
	short := map[dlqstore.State]string{dlqstore.Dead: "D", dlqstore.Replaying: "r", dlqstore.Discarded: "-"}
	states := func() string {
		var b strings.Builder
		for _, r := range append(list, other...) {
			b.WriteString(short[get(t, s, r.ID).State])
		}
		return b.String()
	}
	_, err := s.StartReplay(t.Context(), list[1].ID, nil, bob)
	check(t, err)
	orders := dlqstore.Filter{Route: "orders", State: dlqstore.Delivered} // a state that is not looked at
	many(dlqstore.Change{To: dlqstore.Discarded, Filter: orders, Limit: 3, Reason: "test traffic"}, alice, 3)
	want(t, "the oldest", states(), "-r--DDDDDDDDDD")
	many(dlqstore.Change{To: dlqstore.Discarded, Filter: dlqstore.Filter{IDs: []string{list[5].ID, list[0].ID, "msg_none"}}}, alice, 1)
	many(dlqstore.Change{To: dlqstore.Discarded, Filter: dlqstore.Filter{IDs: []string{}}}, alice, 0)
	want(t, "rows of the audit that tell of all ids", count(t, raw, `SELECT count(*) FROM audit WHERE CAST(detail AS text) LIKE '%msg_none%'`), 0)
	d := get(t, s, list[2].ID)
	want(t, "who and why", d.ChangedBy+d.DiscardReason, "alicetest traffic")
	want(t, "trail", fmt.Sprint(entries(t, s, dlqstore.AuditFilter{DeadLetterID: list[2].ID})), "[alice discard orders test traffic]")

	// Of what has an edited copy only a person knows which one is to come back.
	copied, err := s.StartReplay(t.Context(), list[7].ID, &dlqstore.Edit{Payload: []byte("mended")}, bob)
	check(t, err)
	project(t, s, dlqstore.Record{DeadLetter: copied.DeadLetter, Replay: 1})
	check(t, s.Discard(t.Context(), copied.ID, "", bob))
	many(dlqstore.Change{To: dlqstore.Dead, Reason: "not of a restore"}, bob, 4)
	want(t, "all back but that", states(), "DrDDDDD-DDDDDD")
	d = get(t, s, list[2].ID)
	want(t, "who, and no reason any more", d.ChangedBy+d.DiscardReason, "bob")
	want(t, "audited restores", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'restore' AND actor = 'bob' AND reason = ''`), 4)
	want(t, "one change", count(t, raw, `SELECT count(DISTINCT detail ->> 'change') FROM audit WHERE action = 'restore'`), 1)
	wantCounted(t, s, dlqstore.Filter{State: dlqstore.Dead})
}

package dlqstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit"
)

func testImport(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	mine := letters(t, s, "orders", 0, 1)[0].DeadLetter
	check(t, s.Discard(t.Context(), mine.ID, "", bob))
	original, hostile := letter(1).DeadLetter, letter(2).DeadLetter
	original.State, original.ReplayCount, original.DiscardReason = dlqstore.Discarded, 3, "replaced"
	hostile.Payload = []byte("\x00\xff{\"lone\": \"\\ud800\"}")
	copied := letter(3).DeadLetter
	copied.ReplayOf = original.ID
	list := []dlqstore.DeadLetter{copied, hostile, mine, original} // newest first, as an export has it
	for _, wanted := range []int{3, 0} {
		n, err := s.Import(t.Context(), list, alice)
		check(t, err)
		want(t, "imported", n, wanted)
	}
	want(t, "mine", get(t, s, mine.ID).State, dlqstore.Discarded)
	d := get(t, s, original.ID)
	want(t, "imported", fmt.Sprint(d.State, d.ReplayCount, d.ChangedBy, d.DiscardReason), "dead0alice")
	want(t, "payload", string(get(t, s, hostile.ID).Payload), string(hostile.Payload))
	want(t, "audited", fmt.Sprint(entries(t, s, dlqstore.AuditFilter{Action: dlqstore.ActionImport, DeadLetterID: hostile.ID})), "[alice import orders ]")

	// Original and copy are one family here too: only one of both may go out.
	_, err := s.StartReplay(t.Context(), original.ID, nil, bob)
	wantState(t, err, copied.ID, dlqstore.Dead, "alice")
	check(t, s.Discard(t.Context(), copied.ID, "", bob))
	_, err = s.StartReplay(t.Context(), original.ID, nil, bob)
	check(t, err)

	bad := letter(9).DeadLetter
	bad.Reason = "nonsense"
	_, err = s.Import(t.Context(), []dlqstore.DeadLetter{letter(8).DeadLetter, bad}, alice)
	var unfit *dlqstore.UnfitError
	want(t, "error of one that does not fit", errors.As(err, &unfit) && unfit.ID == bad.ID, true)
	_, err = s.Get(t.Context(), letter(8).ID)
	want(t, "nothing of that was imported", errors.Is(err, dlqstore.ErrNotFound), true)
}

// testRebuild loses the table of dead letters, and has all of it back as it stood.
func testRebuild(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	list := letters(t, s, "orders", 0, 7)
	check(t, s.Discard(t.Context(), list[0].ID, "test traffic", alice))
	for i, r := range list[1:4] {
		_, err := s.StartReplay(t.Context(), r.ID, nil, bob)
		check(t, err)
		end(t, s, i == 0, r) // one is delivered, two die again
	}
	check(t, s.Discard(t.Context(), list[4].ID, "", alice))
	check(t, s.Restore(t.Context(), list[4].ID, alice))
	_, err := s.StartReplay(t.Context(), list[5].ID, &dlqstore.Edit{Payload: []byte("mended")}, bob)
	check(t, err)
	stream := dlqstore.Batch{DeadLetters: append(list, again(list[2], 1), again(list[3], 1))}
	states := func() (text string) {
		for _, r := range list {
			d := get(t, s, r.ID)
			text += fmt.Sprintf("%s by %q, %s, replay %d\n", d.State, d.ChangedBy, d.Error, d.ReplayCount)
		}
		return text
	}
	before := states()
	rebuild := func(dryRun bool, wanted int) {
		t.Helper()
		n, err := s.Rebuild(t.Context(), stream, dryRun, alice)
		check(t, err)
		want(t, "missing", n, wanted)
	}
	rebuild(false, 0)
	want(t, "nothing was missing", states(), before)
	_, err = raw.Exec(`DELETE FROM dead_letters WHERE id <> '` + list[6].ID + `'`)
	check(t, err)
	_, err = raw.Exec(`DELETE FROM dead_letter_attempts`)
	check(t, err)
	rebuild(true, 6)
	n, err := s.Count(t.Context(), dlqstore.Filter{})
	check(t, err)
	want(t, "after a dry run", n, 1)
	rebuild(false, 6)
	for i, state := range []dlqstore.State{dlqstore.Discarded, dlqstore.Delivered, dlqstore.Dead, dlqstore.Dead, dlqstore.Dead, dlqstore.Discarded, dlqstore.Dead} {
		want(t, fmt.Sprintf("letter %d", i), get(t, s, list[i].ID).State, state)
	}
	d := get(t, s, list[0].ID)
	want(t, "who and why", d.ChangedBy+d.DiscardReason, "alicetest traffic")
	want(t, "the last death", get(t, s, list[3].ID).Error, "replay 1: 422")
	rebuild(false, 0)
	want(t, "audited", fmt.Sprint(entries(t, s, dlqstore.AuditFilter{Action: dlqstore.ActionRebuild})), "[alice rebuild  ]")
	wantCounted(t, s, dlqstore.Filter{State: dlqstore.Dead})
}

// testRebuildFamily has lost a copy of a copy: the first original stays discarded while it
// may go out. An import joins them too.
func testRebuildFamily(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	last := letters(t, s, "orders", 0, 1)[0]
	stream := dlqstore.Batch{DeadLetters: []dlqstore.Record{last}}
	for n := range 3 {
		copied, err := s.StartReplay(t.Context(), last.ID, &dlqstore.Edit{Payload: fmt.Append(nil, n)}, bob)
		check(t, err)
		last = dlqstore.Record{DeadLetter: copied.DeadLetter, Replay: 1}
		project(t, s, last)
		stream.DeadLetters = append(stream.DeadLetters, last)
	}
	_, err := raw.Exec(`DELETE FROM dead_letters`)
	check(t, err)
	_, err = s.Rebuild(t.Context(), stream, false, alice)
	check(t, err)
	want(t, "the last copy", get(t, s, last.ID).State, dlqstore.Dead)
	err = s.Restore(t.Context(), stream.DeadLetters[0].ID, alice)
	state, ok := errors.AsType[*dlqstore.StateError](err)
	want(t, "in the way of the first", ok && state.ID == last.ID, true)

	// The same in parts, in any order.
	_, err = raw.Exec(`DELETE FROM dead_letters`)
	check(t, err)
	all := stream.DeadLetters
	for _, n := range []int{3, 1, 2, 0} {
		_, err = s.Import(t.Context(), []dlqstore.DeadLetter{all[n].DeadLetter}, alice)
		check(t, err)
	}
	want(t, "families", count(t, raw, `SELECT count(DISTINCT family) FROM dead_letters`), 1)
}

// TestRebuilder goes through two streams, over what was deleted and what is foreign.
func TestRebuilder(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER_DLQ", Subjects: []string{"other.>"}})
	check(t, err)
	publishLetters(t, js, 0, 1500)
	publish(t, js, &nats.Msg{Subject: "dlq.foreign", Data: []byte("not ours")})
	publish(t, js, letter(2000).Encode("other.orders"))
	dlq, err := js.Stream(t.Context(), "RELAY_DLQ")
	check(t, err)
	check(t, dlq.DeleteMsg(t.Context(), 7))

	store := sqliteStore(t)
	r := dlqstore.NewRebuilder(dlqstore.RebuilderOptions{JetStream: js, Store: store, Streams: func() []string { return []string{"RELAY_DLQ", "OTHER_DLQ"} }})
	for _, tt := range []struct {
		dryRun bool
		want   string
	}{{true, "3 steps, 1501 read, 1500 added, 0 in the table"}, {false, "3 steps, 1501 read, 1500 added, 1500 in the table"}, {false, "3 steps, 1501 read, 0 added, 1500 in the table"}} {
		var at dlqstore.RebuildStep
		steps, read, added := 0, 0, 0
		for !at.Done {
			at, err = r.Step(t.Context(), at, tt.dryRun, alice)
			check(t, err)
			steps, read, added = steps+1, read+at.Read, added+at.Added
		}
		want(t, fmt.Sprint("dry run: ", tt.dryRun), fmt.Sprintf("%d steps, %d read, %d added, %d in the table", steps, read, added, counted(t, store)), tt.want)
	}
}

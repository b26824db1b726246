package dlqstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"relay/dlqstore"
)

func wantState(t *testing.T, err error, id string, state dlqstore.State, actor string) {
	t.Helper()
	var e *dlqstore.StateError
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want a state error", err)
	}
	want(t, "state error", fmt.Sprint(e.ID, e.State, e.Actor, e.At.IsZero()), fmt.Sprint(id, state, actor, false))
}

func testStartReplayOnce(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	r := letter(1)
	project(t, s, r)
	errs := make(chan error)
	const people = 8
	for range people {
		go func() {
			_, err := s.StartReplay(context.Background(), r.ID, nil, alice)
			errs <- err
		}()
	}
	started := 0
	for range people {
		if err := <-errs; err == nil {
			started++
		} else {
			wantState(t, err, r.ID, dlqstore.Replaying, "alice")
		}
	}
	want(t, "started", started, 1)
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'replay' AND actor = 'alice' AND source = '192.0.2.1'`), 1)
	_, err := s.StartReplay(t.Context(), "msg_none", nil, alice)
	want(t, "error of an unknown id", errors.Is(err, dlqstore.ErrNotFound), true)
}

// testEditRace replays an original as it is and edited at once: one of both goes out.
func testEditRace(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	const races = 10
	for n := range races {
		r := letter(n)
		project(t, s, r)
		errs := make(chan error)
		for _, edit := range []*dlqstore.Edit{nil, {Payload: []byte("mended")}} {
			go func() {
				_, err := s.StartReplay(context.Background(), r.ID, edit, alice)
				errs <- err
			}()
		}
		started := 0
		for range 2 {
			var refused *dlqstore.StateError
			if err := <-errs; err == nil {
				started++
			} else if !errors.As(err, &refused) || refused.Actor != "alice" {
				t.Errorf("the second is not told who was first: %v", err)
			}
		}
		want(t, "started", started, 1)
	}
	pending, err := s.PendingReplays(t.Context(), 99)
	check(t, err)
	want(t, "in the outbox", len(pending), races)
}

func testOutbox(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	var started []dlqstore.Replay
	for n := range 3 {
		project(t, s, letter(n))
		r, err := s.StartReplay(t.Context(), letter(n).ID, nil, alice)
		check(t, err)
		started = append(started, r)
	}
	pending, err := s.PendingReplays(t.Context(), 2)
	check(t, err)
	want(t, "pending", pending, started[:2])
	check(t, s.MarkReplaySent(t.Context(), started[0]))
	late := started[1]
	late.Number = 7
	check(t, s.MarkReplaySent(t.Context(), late))
	pending, err = s.PendingReplays(t.Context(), 9)
	check(t, err)
	want(t, "pending then", pending, started[1:])

	project(t, s, again(letter(0), 1))
	second, err := s.StartReplay(t.Context(), letter(0).ID, nil, alice)
	check(t, err)
	pending, err = s.PendingReplays(t.Context(), 9)
	check(t, err)
	want(t, "pending after the second replay", pending, append(started[1:], second))
}

func testEditedReplay(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	r := letter(1)
	project(t, s, r)
	edit := dlqstore.Edit{Payload: []byte("mended\x00"), Headers: map[string][]string{"X": {"\xff"}}}
	replay, err := s.StartReplay(t.Context(), r.ID, &edit, alice)
	check(t, err)
	want(t, "number", replay.Number, 1)
	if replay.ID == r.ID || !strings.HasPrefix(replay.ID, "msg_") || len(replay.ID) != len(r.ID) {
		t.Errorf("got id %q for the copy of %q", replay.ID, r.ID)
	}
	copied := get(t, s, replay.ID)
	want(t, "copy", copied, replay.DeadLetter)
	want(t, "copy's payload", string(copied.Payload), "mended\x00")
	want(t, "copy's headers", copied.Headers, edit.Headers)
	want(t, "copy stands", fmt.Sprint(copied.State, copied.ReplayOf, copied.Route, copied.Stream), fmt.Sprint(dlqstore.Replaying, r.ID, "orders", "ORDERS"))
	original := get(t, s, r.ID)
	want(t, "original's payload", string(original.Payload), string(r.Payload))
	want(t, "original stands", fmt.Sprint(original.State, original.ReplayCount), fmt.Sprint(dlqstore.Discarded, 1))
	want(t, "original tells the copy", strings.Contains(original.DiscardReason, copied.ID), true)
	pending, err := s.PendingReplays(t.Context(), 9)
	check(t, err)
	want(t, "pending", pending, []dlqstore.Replay{replay})
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'edit_and_replay'
		AND before_sha256 <> after_sha256 AND length(after_sha256) = 64`), 1)

	// The copy dies, is edited once more, and that one arrives.
	died := dlqstore.Record{DeadLetter: replay.DeadLetter, Replay: 1}
	died.Error = "422 still"
	project(t, s, died)
	want(t, "copy's state", get(t, s, copied.ID).State, dlqstore.Dead)
	second, err := s.StartReplay(t.Context(), copied.ID, &edit, bob)
	check(t, err)
	project(t, s, dlqstore.Attempt{ID: second.ID, Route: "orders", Replay: 1, Number: 1, At: noon, Verdict: "ack"})
	want(t, "second copy's state", get(t, s, second.ID).State, dlqstore.Delivered)
	wantState(t, s.Restore(t.Context(), r.ID, bob), second.ID, dlqstore.Delivered, "")
}

func testFamily(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r)
	edit := &dlqstore.Edit{Payload: []byte("mended")}
	copied, err := s.StartReplay(t.Context(), r.ID, edit, alice)
	check(t, err)
	wantState(t, s.Restore(t.Context(), r.ID, bob), copied.ID, dlqstore.Replaying, "alice")
	project(t, s, dlqstore.Record{DeadLetter: copied.DeadLetter, Replay: 1})
	wantState(t, s.Restore(t.Context(), r.ID, bob), copied.ID, dlqstore.Dead, "")
	check(t, s.Discard(t.Context(), copied.ID, "", alice))
	check(t, s.Restore(t.Context(), r.ID, bob))
	wantState(t, s.Restore(t.Context(), copied.ID, bob), r.ID, dlqstore.Dead, "bob")
	anew, err := s.StartReplay(t.Context(), r.ID, edit, bob)
	check(t, err)
	want(t, "the same edit again is another delivery", anew.ID != copied.ID, true)
}

// testFamilyRace restores an original and its copy at once: one of both only.
func testFamilyRace(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	for n := range 10 {
		r := letter(n)
		project(t, s, r)
		copied, err := s.StartReplay(t.Context(), r.ID, &dlqstore.Edit{}, alice)
		check(t, err)
		project(t, s, dlqstore.Record{DeadLetter: copied.DeadLetter, Replay: 1})
		check(t, s.Discard(t.Context(), copied.ID, "", alice))
		errs := make(chan error)
		for _, id := range []string{r.ID, copied.ID} {
			go func() { errs <- s.Restore(context.Background(), id, bob) }()
		}
		restored := 0
		for range 2 {
			if err := <-errs; err == nil {
				restored++
			}
		}
		want(t, "restored", restored, 1)
	}
}

func testDiscardRestore(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	r := letter(1)
	project(t, s, r)
	wantState(t, s.Restore(t.Context(), r.ID, bob), r.ID, dlqstore.Dead, "")
	check(t, s.Discard(t.Context(), r.ID, "test traffic", alice))
	wantState(t, s.Discard(t.Context(), r.ID, "again", bob), r.ID, dlqstore.Discarded, "alice")
	check(t, s.Restore(t.Context(), r.ID, bob))
	d := get(t, s, r.ID)
	want(t, "restored", fmt.Sprint(d.State, d.ChangedBy, d.DiscardReason), "deadbob")
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'discard' AND reason = 'test traffic' OR action = 'restore'`), 2)
	want(t, "error of an unknown id", errors.Is(s.Discard(t.Context(), "msg_none", "", bob), dlqstore.ErrNotFound), true)
}

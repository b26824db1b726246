package dlqstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"relay/dlqstore"
)

func testRoundTrip(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r, attempt(r, 0, 1, "nak"), attempt(r, 0, 2, "term"))
	wanted := r.DeadLetter
	wanted.Response = []byte("answer 0.2")
	wanted.ChangedAt = r.FailedAt
	wanted.ErrorClass, wanted.Fingerprint = "5xx", "4ef41f5a1d30a0ba"
	wanted.Attempts = []dlqstore.Attempt{attempt(r, 0, 1, "nak"), attempt(r, 0, 2, "term")}
	want(t, "dead letter", get(t, s, r.ID), wanted)

	_, err := s.Get(t.Context(), "msg_none")
	want(t, "error of an unknown id", errors.Is(err, dlqstore.ErrNotFound), true)
	_, err = s.Get(t.Context(), "msg_\x00\xff")
	want(t, "error of an id that is not text", errors.Is(err, dlqstore.ErrNotFound), true)
}

// hostile are contents that text and JSON columns cannot hold.
var hostile = map[string]string{
	"nothing":           "",
	"nul":               "a\x00b",
	"invalid utf-8":     "\xff\xfe\xc3(",
	"escaped nul":       `{"a":"\u0000"}`,
	"lone surrogate":    `{"a":"\ud800"}`,
	"huge number":       `{"n":1e400000}`,
	"deep":              strings.Repeat("[", 20000),
	"not json":          "plain 'text' \"quoted\" \\ $1 %s",
	"duplicate members": `{"a":1,"a":2}`,
	"large integer":     `{"n": 12345678901234567890}`,
	"json with a bom":   "\xef\xbb\xbf{}",
	"every byte":        everyByte(),
}

func everyByte() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}

func testHostileContent(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	n := 0
	for name, content := range hostile {
		n++
		r := letter(n)
		r.Payload = []byte(content)
		r.Headers = map[string][]string{"X": {content, ""}, content: {content}, "Empty": {""}}
		r.Error = content
		r.OriginalSubject = content
		r.ConsumerName = content
		a := attempt(r, 0, 1, "nak")
		a.Response, a.Error, a.ResponseHeaders = []byte(content), content, map[string][]string{content: {content}}
		project(t, s, r, a)
		got := get(t, s, r.ID)
		want(t, name+": payload", string(got.Payload), content)
		want(t, name+": headers", got.Headers, r.Headers)
		want(t, name+": response", string(got.Response), content[:min(len(content), dlqstore.MaxResponseBytes)])
	}
	want(t, "quarantined", count(t, raw, `SELECT count(*) FROM quarantine`), 0)
}

func testOriginalData(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	good, bad := letter(1), letter(2)
	bad.Payload = []byte("{\"a\":\"\xff\"")
	project(t, s, good, bad)
	want(t, "member n", count(t, raw, `SELECT CAST(original_data ->> 'n' AS integer) FROM dead_letters WHERE original_data IS NOT NULL`), 1)
	want(t, "rows without original data", count(t, raw, `SELECT count(*) FROM dead_letters WHERE original_data IS NULL`), 1)
	want(t, "header", count(t, raw, `SELECT count(*) FROM dead_letters WHERE headers -> 'X' ->> 1 = '2'`), 2)
}

// testAnyOrder projects the life of one delivery in every order, in one batch or many,
// some of it twice, into rows that must be alike.
func testAnyOrder(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	events := func(n int, ends bool) []any {
		r := letter(n)
		list := []any{
			r, attempt(r, 0, 1, "nak"), attempt(r, 0, 2, "term"),
			again(r, 1), attempt(r, 1, 1, "nak"), attempt(r, 1, 2, "term"),
			again(r, 2), attempt(r, 2, 1, "term"), attempt(r, 3, 1, "nak"),
		}
		if ends {
			list = append(list, attempt(r, 3, 2, "ack"))
		}
		return list
	}
	for _, ends := range []bool{false, true} {
		var first string
		for seed := range 40 {
			n := seed + 1
			if ends {
				n += 100
			}
			list := events(n, ends)
			random := rand.New(rand.NewPCG(uint64(seed), 1))
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			list = append(list, list[random.IntN(len(list))])
			for len(list) > 0 {
				size := 1 + random.IntN(len(list))
				project(t, s, list[:size]...)
				list = list[size:]
			}
			d := get(t, s, letter(n).ID)
			told := fmt.Sprintf("%s %s %d %s %d %d %q attempts %d", d.State, d.Reason, d.Status, d.Error, d.RetryCount, d.ReplayCount,
				d.Response, len(d.Attempts))
			if first == "" {
				first = told
			}
			want(t, fmt.Sprintf("row of seed %d", seed), told, first)
		}
		wanted := `dead rejected 422 replay 2: 422 2 2 "answer 2.1" attempts 6`
		if ends {
			wanted = `delivered rejected 422 replay 2: 422 2 3 "answer 2.1" attempts 7`
		}
		want(t, "row", first, wanted)
	}
}

func testReplayDies(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r)
	_, err := s.StartReplay(t.Context(), r.ID, nil, alice)
	check(t, err)
	project(t, s, r, attempt(r, 1, 1, "nak"))
	want(t, "state during the replay", get(t, s, r.ID).State, dlqstore.Replaying)
	died := again(r, 1)
	died.Payload = []byte("other bytes")
	project(t, s, died, attempt(r, 1, 2, "term"))
	d := get(t, s, r.ID)
	want(t, "state", d.State, dlqstore.Dead)
	want(t, "cause", fmt.Sprint(d.Reason, d.Status, d.Error, d.RetryCount, string(d.Response)), "rejected422replay 1: 4221answer 1.2")
	want(t, "payload", string(d.Payload), string(r.Payload))
	want(t, "failed at", d.FailedAt, died.FailedAt)
	want(t, "changed by", d.ChangedBy, "")
}

func testReplayDelivered(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	for i, verdict := range []string{"ack", "drop"} {
		r := letter(i)
		project(t, s, r)
		_, err := s.StartReplay(t.Context(), r.ID, nil, alice)
		check(t, err)
		project(t, s, attempt(r, 1, 1, "nak"), attempt(r, 1, 2, verdict))
		want(t, "state", get(t, s, r.ID).State, dlqstore.Delivered)
		project(t, s, r, again(r, 1), attempt(r, 1, 2, verdict))
		d := get(t, s, r.ID)
		want(t, "state after a late death of the same replay", d.State, dlqstore.Delivered)
		want(t, "response", string(d.Response), "answer 1.1")
		_, err = s.StartReplay(t.Context(), r.ID, nil, bob)
		wantState(t, err, r.ID, dlqstore.Delivered, "")
	}
	want(t, "audited ends", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'delivered' AND actor = 'relay'`), 2)
}

func testOlderLives(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r)
	for n := 1; n <= 2; n++ {
		replay, err := s.StartReplay(t.Context(), r.ID, nil, alice)
		check(t, err)
		want(t, "number", replay.Number, n)
		if n == 1 {
			project(t, s, again(r, 1))
		}
	}
	project(t, s, r, again(r, 1), attempt(r, 1, 9, "ack"))
	want(t, "state", get(t, s, r.ID).State, dlqstore.Replaying)
}

func testDiscardedStays(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r)
	check(t, s.Discard(t.Context(), r.ID, "test traffic", alice))
	project(t, s, r, again(r, 1), attempt(r, 0, 1, "term"), attempt(r, 1, 1, "ack"))
	d := get(t, s, r.ID)
	want(t, "state", fmt.Sprint(d.State, d.DiscardReason, d.ChangedBy), "discardedtest trafficalice")
}

func testReferences(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	whole, missing := letter(1), letter(2)
	reference := func(r dlqstore.Record) dlqstore.Record {
		r.Reference, r.Payload, r.Headers = true, nil, nil
		return r
	}
	project(t, s, whole)
	project(t, s, reference(whole), reference(missing), reference(again(whole, 1)))
	d := get(t, s, whole.ID)
	want(t, "payload", string(d.Payload), string(whole.Payload))
	want(t, "headers", d.Headers, whole.Headers)
	want(t, "error", d.Error, "replay 1: 422")
	_, err := s.Get(t.Context(), missing.ID)
	want(t, "error of a missing payload", errors.Is(err, dlqstore.ErrNotFound), true)
	want(t, "quarantined", count(t, raw, `SELECT count(*) FROM quarantine WHERE reason LIKE '%payload%'`), 1)

	late := letter(3)
	project(t, s, reference(late), late)
	want(t, "payload of one batch", string(get(t, s, late.ID).Payload), string(late.Payload))
}

func testQuarantine(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	var batch []any
	for n := range 20 {
		r := letter(n)
		a := attempt(r, 0, 1, "nak")
		switch n {
		case 3:
			r.Reason = "because"
		case 4:
			r.StreamSequence = 1 << 63
		case 5:
			r.RetryCount = 1 << 40
		case 7:
			a.Verdict = "maybe"
		case 8:
			r.ID = "msg_\x00"
		}
		batch = append(batch, r, a)
	}
	foreign := dlqstore.Unreadable{
		Stream: "RELAY_DLQ", Sequence: 7, Subject: "dlq.x", Headers: map[string][]string{"A": {"\x00"}}, Data: []byte("\x00raw"), Reason: "not ours",
	}
	for range 2 {
		project(t, s, append(batch, foreign)...)
	}
	n, err := s.Count(t.Context(), dlqstore.Filter{})
	check(t, err)
	want(t, "dead letters", n, 16)
	want(t, "attempts", count(t, raw, `SELECT count(*) FROM dead_letter_attempts`), 19)
	want(t, "quarantined", count(t, raw, `SELECT count(*) FROM quarantine`), 6)
	var data []byte
	check(t, raw.QueryRow(`SELECT data FROM quarantine WHERE reason = 'not ours'`).Scan(&data))
	want(t, "data", string(data), "\x00raw")
	want(t, "payload kept", count(t, raw, `SELECT length(data) FROM quarantine WHERE subject = 'orders.created' AND stream_sequence = 3`), len(letter(3).Payload))
}

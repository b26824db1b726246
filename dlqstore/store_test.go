package dlqstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// TestStore runs the one conformance suite on every database.
func TestStore(t *testing.T) {
	suite := map[string]func(*testing.T, dlqstore.Store, *sql.DB){
		"get what was projected":                testRoundTrip,
		"hostile content is kept byte for byte": testHostileContent,
		"original data is what can be queried":  testOriginalData,
		"any order and number":                  testAnyOrder,
		"a replay that dies again":              testReplayDies,
		"a replay that is delivered":            testReplayDelivered,
		"older lives change nothing":            testOlderLives,
		"discarded stays discarded":             testDiscardedStays,
		"references":                            testReferences,
		"quarantine":                            testQuarantine,
		"start replay once":                     testStartReplayOnce,
		"outbox":                                testOutbox,
		"edited replay":                         testEditedReplay,
		"only one of a family":                  testFamily,
		"restored family in a race":             testFamilyRace,
		"discard and restore":                   testDiscardRestore,
		"audit is append-only":                  testAudit,
		"filters":                               testFilters,
		"paging":                                testPaging,
		"large payloads make short pages":       testLargePages,
		"migrate again":                         testMigrateAgain,
		"too new":                               testTooNew,
	}
	databases := map[string]func(*testing.T) (url, driver, dsn string){
		"postgres": func(t *testing.T) (string, string, string) {
			url := testkit.Postgres(t)
			return url, "pgx", url
		},
		"sqlite": func(t *testing.T) (string, string, string) {
			path := filepath.Join(t.TempDir(), "dead letters?%20.db")
			return "sqlite:" + path, "sqlite", "file:" + strings.NewReplacer("%", "%25", "?", "%3f", " ", "%20").Replace(path) + "?_pragma=busy_timeout(10000)"
		},
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			for _, title := range slices.Sorted(maps.Keys(suite)) {
				t.Run(title, func(t *testing.T) {
					url, driver, dsn := database(t)
					store := open(t, url)
					raw, err := sql.Open(driver, dsn)
					check(t, err)
					t.Cleanup(func() { raw.Close() })
					suite[title](t, store, raw)
				})
			}
		})
	}
}

func open(t *testing.T, url string) dlqstore.Store {
	t.Helper()
	store, err := dlqstore.Open(t.Context(), url, dlqstore.OpenOptions{})
	check(t, err)
	t.Cleanup(store.Close)
	check(t, store.Migrate(t.Context()))
	return store
}

var (
	alice = dlqstore.Actor{Name: "alice", Source: "192.0.2.1"}
	bob   = dlqstore.Actor{Name: "bob", Source: "cli"}
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
)

// letter is the nth dead letter of the tests, in its first life.
func letter(n int) dlqstore.Record {
	published := noon.Add(time.Duration(n) * time.Second)
	return dlqstore.Record{DeadLetter: dlqstore.DeadLetter{
		ID: dlqstore.NewID("orders", "ORDERS", uint64(n), published), Route: "orders", State: dlqstore.Dead,
		Reason: dlqstore.Exhausted, OriginalSubject: "orders.created", Payload: []byte(fmt.Sprintf(`{"n": %d}`, n)),
		Headers: map[string][]string{"Event-Type": {"order"}, "X": {"1", "2"}}, Error: "503 Service Unavailable", Status: 503,
		RetryCount: 8, ConsumerName: "relay-orders", Stream: "ORDERS", StreamSequence: uint64(n), PublishedAt: published,
		FailedAt: published.Add(time.Hour),
	}}
}

// again is the record of the replay of the same delivery that died too.
func again(r dlqstore.Record, replay int) dlqstore.Record {
	r.Replay, r.Reason, r.Error, r.Status, r.RetryCount = replay, dlqstore.Rejected, fmt.Sprintf("replay %d: 422", replay), 422, replay
	r.FailedAt = r.FailedAt.Add(time.Duration(replay) * time.Minute)
	return r
}

func attempt(r dlqstore.Record, replay, number int, verdict string) dlqstore.Attempt {
	return dlqstore.Attempt{
		ID: r.ID, Route: r.Route, Number: number, Replay: replay, At: r.PublishedAt.Add(time.Duration(number) * time.Minute),
		Status: 503, Duration: 1500 * time.Microsecond, ResponseHeaders: map[string][]string{"Retry-After": {"1"}},
		Response: []byte(fmt.Sprintf("answer %d.%d", replay, number)), Verdict: verdict, Instance: "relay-1",
	}
}

func project(t *testing.T, s dlqstore.Store, items ...any) {
	t.Helper()
	var b dlqstore.Batch
	for _, item := range items {
		switch item := item.(type) {
		case dlqstore.Record:
			b.DeadLetters = append(b.DeadLetters, item)
		case dlqstore.Attempt:
			b.Attempts = append(b.Attempts, item)
		case dlqstore.Unreadable:
			b.Unreadable = append(b.Unreadable, item)
		default:
			t.Fatalf("cannot project %v", item)
		}
	}
	check(t, s.Project(t.Context(), b))
}

func get(t *testing.T, s dlqstore.Store, id string) dlqstore.DeadLetter {
	t.Helper()
	d, err := s.Get(t.Context(), id)
	check(t, err)
	return d
}

// want fails unless got and want print alike.
func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	check(t, db.QueryRow(query).Scan(&n))
	return n
}

func testRoundTrip(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	r := letter(1)
	project(t, s, r, attempt(r, 0, 1, "nak"), attempt(r, 0, 2, "term"))
	wanted := r.DeadLetter
	wanted.Response = []byte("answer 0.2")
	wanted.ChangedAt = r.FailedAt
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

func testAudit(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	project(t, s, letter(1))
	check(t, s.Discard(t.Context(), letter(1).ID, "", alice))
	for _, change := range []string{`UPDATE audit SET actor = 'nobody'`, `DELETE FROM audit`} {
		if _, err := raw.Exec(change); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: got error %v, want append-only", change, err)
		}
	}
}

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
	special.Error, special.Payload = "100% of Ärger_", []byte("\x00binary\xff")
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
		"subject long tail":  {dlqstore.Filter{Subject: strings.Repeat("long.", 600) + ">"}, []int{7}},
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
		all = append(all, r)
		wanted = append(wanted, r.FailedAt.Format(time.StampMicro)+r.ID)
	}
	project(t, s, all...)
	slices.Sort(wanted)
	slices.Reverse(wanted)
	var got []string
	page := dlqstore.Page{Limit: 5}
	for {
		list, err := s.List(t.Context(), dlqstore.Filter{Route: "orders"}, page)
		check(t, err)
		for _, d := range list.DeadLetters {
			got = append(got, d.FailedAt.Format(time.StampMicro)+d.ID)
		}
		if list.Next == "" {
			break
		}
		if page.Cursor == "" { // rows that arrive are newer and disturb nothing
			project(t, s, letter(99))
		}
		page.Cursor = list.Next
	}
	want(t, "pages", got, wanted)
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
}

func testMigrateAgain(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	project(t, s, letter(1))
	check(t, s.Migrate(t.Context()))
	schema, err := s.Schema(t.Context())
	check(t, err)
	want(t, "schema", schema.Current == schema.Known && schema.Known > 0, true)
	get(t, s, letter(1).ID)
}

func testTooNew(t *testing.T, s dlqstore.Store, raw *sql.DB) {
	_, err := raw.Exec(`INSERT INTO relay_schema (version_id, is_applied) VALUES (9999, true)`)
	check(t, err)
	err = s.Migrate(t.Context())
	want(t, "is too new", errors.Is(err, dlqstore.ErrTooNew), true)
	schema, serr := s.Schema(t.Context())
	check(t, serr)
	want(t, "schema's version", schema.Current, 9999)
	for _, version := range []string{"9999", fmt.Sprint(schema.Known)} {
		want(t, "error names version "+version, strings.Contains(err.Error(), version), true)
	}
}

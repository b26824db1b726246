package dlqstore_test

import (
	"database/sql"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// TestTextIndex makes the index for text as docs/operations.md says. The search finds what
// it found without, and what stands further back.
func TestTextIndex(t *testing.T) {
	url := testkit.PostgresServer(t).URL // an extension is of the whole database
	s := open(t, url)
	db, err := sql.Open("pgx", url)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	texts := []string{"plain needle", `back\slash`, `back\134slash`, "100%", "under_score", "NUL\x00needle", "\xfe\xff bytes", "Ärger é", `\303\204rger`}
	for n, text := range texts {
		r := letter(n)
		r.Payload = []byte("<" + text + ">")
		project(t, s, r)
	}
	other := letter(len(texts))
	other.OriginalSubject, other.Error = "orders.Ärger.needle", "no NEEDLE"
	project(t, s, other)
	fillLetters(t, db, 11_000)

	search := func(text string) string {
		t.Helper()
		list, err := s.List(t.Context(), dlqstore.Filter{Query: text}, dlqstore.Page{})
		check(t, err)
		n, err := s.Count(t.Context(), dlqstore.Filter{Query: text})
		check(t, err)
		return fmt.Sprint(len(list.DeadLetters), n, list.Next == "" && list.SearchedTo.IsZero())
	}
	want(t, "without the index the search ends before what is older", search("needle"), "0 0 false")

	docs, err := os.ReadFile("../docs/operations.md")
	check(t, err)
	for _, statement := range textIndex {
		_, err := db.Exec(string(statement.Find(docs)))
		check(t, err)
	}
	for text, n := range map[string]int{
		"needle": 3, "NEEDLE": 1, "plain needle": 1, `back\slash`: 1, `back\134slash`: 1, `134slash`: 1, "100%": 1, "under_score": 1,
		"underXscore": 0, "NUL\x00needle": 1, "bytes\xff": 0, "\xff bytes": 1, "Ärger": 2, `303\204rger`: 1, "no such text": 0,
	} {
		want(t, fmt.Sprintf("with the index: %q", text), search(text), fmt.Sprint(n, n, true))
	}
	want(t, "too short for the index", search("Är"), "0 0 false")
	want(t, "in too many for the index", search("orders.filling"), "50 10000 false")
	groups, err := s.Groups(t.Context(), dlqstore.Filter{Query: "needle"}, 0)
	check(t, err)
	want(t, "groups", fmt.Sprint(len(groups), groups[0].Count), "2 2")

	_, err = db.Exec(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'dead_letters_text'::regclass`)
	check(t, err)
	want(t, "with an index that is not ready yet", search("needle"), "0 0 false")
	_, err = db.Exec(`UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'dead_letters_text'::regclass; DELETE FROM dead_letters WHERE id LIKE 'copy %'`)
	check(t, err)
	t.Run("same bytes", func(t *testing.T) { testIndexFindsAll(t, s, db) })
}

// testIndexFindsAll compares, for any bytes, what the index leads to with what is there.
func testIndexFindsAll(t *testing.T, s dlqstore.Store, db *sql.DB) {
	n := 1000
	rapid.Check(t, func(rt *rapid.T) {
		some := rapid.SliceOfN(rapid.SampledFrom([]byte("aaaBBB111_%\\'\"\x00\xc3\x84\xff ")), 3, 20)
		n++
		r := letter(n)
		r.Payload = some.Draw(rt, "payload")
		check(t, s.Project(t.Context(), dlqstore.Batch{DeadLetters: []dlqstore.Record{r}}))
		from := rapid.IntRange(0, len(r.Payload)-3).Draw(rt, "from")
		text := string(r.Payload[from:rapid.IntRange(from+3, len(r.Payload)).Draw(rt, "to")])
		list, err := s.List(t.Context(), dlqstore.Filter{Query: text, Route: r.Route, Since: r.FailedAt}, dlqstore.Page{})
		check(t, err)
		if len(list.DeadLetters) != 1 {
			rt.Fatalf("%q is not found in %q", text, r.Payload)
		}
	})
}

// fillLetters adds copies of a dead letter, newer than all others.
func fillLetters(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	_, err := db.Exec(`INSERT INTO dead_letters (id, route, state, reason, original_subject, payload, headers, error, status, retry_count,
			consumer_name, stream, stream_sequence, published_at, failed_at, family, replay_count, died_in, changed_at)
		SELECT 'copy ' || n, 'orders', 'dead', 'exhausted', 'orders.filling', '{}', '{}', '503', 503, 8, 'relay-orders', 'ORDERS', n,
			failed_at, failed_at + n * interval '1s', 'copy ' || n, 0, 0, failed_at
		FROM generate_series(1, $1) AS n, (SELECT max(failed_at) AS failed_at FROM dead_letters) AS newest`, n)
	check(t, err)
}

package dlqstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

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
		"more attempts than are read":           testManyAttempts,
		"discarded stays discarded":             testDiscardedStays,
		"references":                            testReferences,
		"quarantine":                            testQuarantine,
		"start replay once":                     testStartReplayOnce,
		"outbox":                                testOutbox,
		"edited replay":                         testEditedReplay,
		"only one of a family":                  testFamily,
		"replayed and edited in a race":         testEditRace,
		"restored family in a race":             testFamilyRace,
		"discard and restore":                   testDiscardRestore,
		"discard and restore many":              testChangeMany,
		"import":                                testImport,
		"rebuild":                               testRebuild,
		"rebuild a family":                      testRebuildFamily,
		"audit is append-only":                  testAudit,
		"audit list":                            testAuditList,
		"items of a replay job":                 testJobItems,
		"groups by cause":                       testGroups,
		"counts":                                testCounts,
		"replay job":                            testJob,
		"replay job at a pace":                  testJobPace,
		"replay job at another rate":            testJobRate,
		"replay job that stops":                 testJobStops,
		"replay jobs in a queue":                testJobQueue,
		"replay jobs in a race":                 testJobRace,
		"prune":                                 testPrune,
		"search depth":                          testSearchDepth,
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

func testMigrateAgain(t *testing.T, s dlqstore.Store, _ *sql.DB) {
	project(t, s, letter(1))
	check(t, s.Migrate(t.Context()))
	schema, err := s.Schema(t.Context())
	check(t, err)
	want(t, "schema", schema.Current == schema.Known && schema.Known > 0, true)
	get(t, s, letter(1).ID)
	check(t, s.Ping(t.Context()))
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

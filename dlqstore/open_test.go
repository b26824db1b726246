package dlqstore_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// TestOpenErrors has URLs that cannot be used; no error tells the password.
func TestOpenErrors(t *testing.T) {
	folder := t.TempDir()
	cases := map[string]struct{ url, want string }{
		"empty":             {"", "want postgres://"},
		"other scheme":      {"mysql://relay:hunter2@db/relay", "want postgres://"},
		"no scheme":         {"hunter2", "want postgres://"},
		"no sqlite path":    {"sqlite:", "sqlite:PATH"},
		"missing folder":    {"sqlite:" + filepath.Join(folder, "none", "relay.db"), "no such file"},
		"a folder":          {"sqlite:" + folder, "is a directory"},
		"bad port":          {"postgres://relay:hunter2@db:port/relay", "percent-encode"},
		"bad escape":        {"postgres://relay:hunter2%zz@db/relay", "percent-encode"},
		"slash in password": {"postgres://relay:hunter2/x@db:5432/relay", "percent-encode"},
		"bad option":        {"postgres://relay:hunter2@db/relay?sslmode=hunter3", "sslmode"},
		"bad pool option":   {"postgres://relay:hunter2@db/relay?pool_max_conns=many&password=hunter2", "pool_max_conns"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			store, err := dlqstore.Open(t.Context(), c.url, dlqstore.OpenOptions{})
			if err == nil {
				store.Close()
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got error %q, want one with %q", err, c.want)
			}
		})
	}
}

// TestOpenWhileDown opens a database that nobody serves: only its use fails.
func TestOpenWhileDown(t *testing.T) {
	testkit.Leaks(t)
	store, err := dlqstore.Open(t.Context(), "postgres://relay:hunter2@127.0.0.1:1/relay?connect_timeout=5", dlqstore.OpenOptions{})
	check(t, err)
	defer store.Close()
	_, schema := store.Schema(t.Context())
	for name, err := range map[string]error{"ping": store.Ping(t.Context()), "migrate": store.Migrate(t.Context()), "schema": schema} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v, want one without the password", name, err)
		}
	}
}

func TestSQLiteFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.db")
	store := open(t, "sqlite:"+path)
	project(t, store, letter(1))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		check(t, err)
		want(t, "mode of "+suffix, info.Mode().Perm(), "-rw-------")
	}
}

// TestMigrateTogether migrates one database from several processes at once.
func TestMigrateTogether(t *testing.T) {
	url := testkit.Postgres(t)
	errs := make(chan error)
	const processes = 4
	for range processes {
		go func() {
			store, err := dlqstore.Open(t.Context(), url, dlqstore.OpenOptions{})
			if err == nil {
				err = store.Migrate(t.Context())
				store.Close()
			}
			errs <- err
		}()
	}
	for range processes {
		check(t, <-errs)
	}
}

// TestNotMigrated uses a database without tables: nothing is quarantined, nothing is
// taken for done, and the schema's version can be read without leave to create.
func TestNotMigrated(t *testing.T) {
	url := testkit.Postgres(t)
	store, err := dlqstore.Open(t.Context(), url, dlqstore.OpenOptions{})
	check(t, err)
	defer store.Close()
	if err := store.Project(t.Context(), dlqstore.Batch{DeadLetters: []dlqstore.Record{letter(1)}}); err == nil {
		t.Error("projected into nothing")
	}
	schema, err := store.Schema(t.Context())
	check(t, err)
	want(t, "version", schema.Current, 0)
	err = store.Ping(t.Context())
	want(t, "ping tells the cure", err != nil && strings.Contains(err.Error(), "`relay migrate up`"), true)
	db, err := sql.Open("pgx", url)
	check(t, err)
	defer db.Close()
	want(t, "tables", count(t, db, `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()`), 0)
}

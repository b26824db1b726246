package testkit

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PostgresEnv names the variable that holds the URL of a Postgres server for tests, with
// a user that may create schemas. Unset: each test process starts its own server.
const PostgresEnv = "RELAY_TEST_POSTGRES_URL"

// sharedPostgres is the server of this test process. Nobody stops it: its watchdog does
// when the process ends.
var sharedPostgres = sync.OnceValues(StartPostgres)

// Postgres returns the URL of a schema of its own, which is dropped with all that is in
// it when the test ends. The user is a superuser.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv(PostgresEnv)
	if server == "" {
		pg, err := sharedPostgres()
		if err != nil {
			t.Fatal(err)
		}
		server = pg.URL
	}
	return schema(t, server)
}

// schema makes a schema and returns the server's URL with it as the search path.
func schema(t testing.TB, server string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	execSQL(t, server, "CREATE SCHEMA "+name)
	t.Cleanup(func() { execSQL(t, server, "DROP SCHEMA "+name+" CASCADE") })
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s is not a URL", PostgresEnv)
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}

func execSQL(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to test Postgres: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// PostgresServer starts a Postgres of the test's own, for tests that stop it. It ends
// with the test.
func PostgresServer(t testing.TB) *PG {
	t.Helper()
	pg, err := StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Errorf("close test Postgres: %v", err)
		}
	})
	return pg
}

package dlqstore_test

import (
	"strings"
	"testing"

	"relay/dlqstore"
)

// Wherever the URL, or the environment, names the database, it is found.
func TestHosts(t *testing.T) {
	t.Setenv("PGHOST", "/run/postgresql")
	for database, want := range map[string]string{
		"postgres://relay:a%40b@db/relay":                      "db:5432",
		"postgres://db?sslmode=disable":                        "db:5432",
		"postgres://relay@db-1:5433,db-2,[::1]/relay":          "db-1:5433 db-2:5432 [::1]:5432",
		"postgres:///relay?host=db-1,db-2&port=5433":           "db-1:5433 db-2:5433",
		"postgres://db/relay?port=5433":                        "db:5433",
		"postgres://relay@127.0.0.1:5432/x?host=/run/postgres": "",
		"postgres:///relay":                                    "",
		"sqlite:/var/lib/relay/relay.db":                       "",
	} {
		if got := strings.Join(dlqstore.Hosts(database), " "); got != want {
			t.Errorf("%s: got %q, want %q", database, got, want)
		}
	}
	t.Setenv("PGHOST", "db-3")
	if got := strings.Join(dlqstore.Hosts("postgres:///relay"), " "); got != "db-3:5432" {
		t.Errorf("the host of PGHOST: got %q, want db-3:5432", got)
	}
}

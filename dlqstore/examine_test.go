package dlqstore_test

import (
	"database/sql"
	"strings"
	"testing"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// What a role may not do is named, table by table; a role that may do all it needs, and
// no more, lacks nothing.
func TestExamine(t *testing.T) {
	owner := testkit.Postgres(t)
	open(t, owner)
	s, err := dlqstore.Examine(t.Context(), owner)
	check(t, err)
	if s.Product != "PostgreSQL" || !s.Super || !s.Creates || len(s.Lacks) > 0 || s.Schema.Current != s.Schema.Known || s.Now.IsZero() {
		t.Errorf("the owner: %+v", s)
	}
	db, err := sql.Open("pgx", owner)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	role, databaseURL, granted := leastRole(t, db, owner)
	s, err = dlqstore.Examine(t.Context(), databaseURL)
	check(t, err)
	if s.Role != role || s.Super || s.Creates || len(s.Lacks) > 0 {
		t.Errorf("a role with the least it needs: %+v", s)
	}
	_, err = db.Exec(`REVOKE UPDATE ON dead_letters FROM ` + role + `; REVOKE INSERT ON audit FROM ` + role)
	check(t, err)
	s, err = dlqstore.Examine(t.Context(), databaseURL)
	check(t, err)
	want(t, "lacks", strings.Join(s.Lacks, ", "), "INSERT on audit, UPDATE on dead_letters")
	_, err = db.Exec(`REVOKE ALL ON dead_letters, dead_letter_attempts, dead_letter_counts, replay_jobs, replay_items, audit, quarantine FROM ` + role)
	check(t, err)
	s, err = dlqstore.Examine(t.Context(), databaseURL)
	check(t, err)
	needed := 0 // of tables, by the grants
	for _, line := range granted {
		if privileges, tables, ok := strings.Cut(line, " ON "); ok && !strings.Contains(tables, "SCHEMA") && !strings.Contains(tables, "relay_schema") {
			needed += (strings.Count(privileges, ",") + 1) * (strings.Count(tables, ",") + 1)
		}
	}
	want(t, "lacks without any grant", len(s.Lacks), needed)

	s, err = dlqstore.Examine(t.Context(), "sqlite:"+t.TempDir()+"/relay.db")
	check(t, err)
	if s.Product != "SQLite" || s.Version == "" || s.Schema.Current != 0 {
		t.Errorf("a new SQLite file: %+v", s)
	}
}

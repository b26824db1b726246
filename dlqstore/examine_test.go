package dlqstore_test

import (
	"crypto/rand"
	"database/sql"
	"net/url"
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
	u, err := url.Parse(owner)
	check(t, err)
	role, password := "relay_"+strings.ToLower(rand.Text()), rand.Text()
	names := strings.NewReplacer("ROLE_NAME", role, "SCHEMA_NAME", u.Query().Get("search_path"))
	_, err = db.Exec(names.Replace(`CREATE ROLE ROLE_NAME LOGIN PASSWORD '` + password + `';` + grants))
	check(t, err)
	t.Cleanup(func() {
		if _, err := db.Exec(names.Replace(`DROP OWNED BY ROLE_NAME; DROP ROLE ROLE_NAME`)); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	u.User = url.UserPassword(role, password)
	s, err = dlqstore.Examine(t.Context(), u.String())
	check(t, err)
	if s.Role != role || s.Super || s.Creates || len(s.Lacks) > 0 {
		t.Errorf("a role with the least it needs: %+v", s)
	}
	_, err = db.Exec(names.Replace(`REVOKE UPDATE ON dead_letters FROM ROLE_NAME; REVOKE INSERT ON audit FROM ROLE_NAME`))
	check(t, err)
	s, err = dlqstore.Examine(t.Context(), u.String())
	check(t, err)
	want(t, "lacks", strings.Join(s.Lacks, ", "), "INSERT on audit, UPDATE on dead_letters")
	_, err = db.Exec(names.Replace(`REVOKE ALL ON ALL TABLES IN SCHEMA SCHEMA_NAME FROM ROLE_NAME; GRANT SELECT ON relay_schema TO ROLE_NAME`))
	check(t, err)
	s, err = dlqstore.Examine(t.Context(), u.String())
	check(t, err)
	needed := 0 // of tables, by the grants
	for line := range strings.Lines(grants) {
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

package dlqstore_test

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// grants finds in docs/operations.md what a role needs that runs relay with --no-migrate.
var grants = regexp.MustCompile(`(?m)^GRANT .* TO relay;$`)

// leastRole makes a role with the grants of docs/operations.md, which it returns, and the
// URL of the owner's schema for that role.
func leastRole(t *testing.T, db *sql.DB, owner string) (role, databaseURL string, granted []string) {
	t.Helper()
	u, err := url.Parse(owner)
	check(t, err)
	role, password := "relay_"+strings.ToLower(rand.Text()), rand.Text()
	_, err = db.Exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD '` + password + `'`)
	check(t, err)
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP OWNED BY ` + role + `; DROP ROLE ` + role); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	docs, err := os.ReadFile("../docs/operations.md")
	check(t, err)
	granted = grants.FindAllString(string(docs), -1)
	want(t, "grants in the docs", len(granted), 5)
	names := strings.NewReplacer("TO relay;", "TO "+role+";", "SCHEMA public", "SCHEMA "+u.Query().Get("search_path"))
	_, err = db.Exec(names.Replace(strings.Join(granted, "\n")))
	check(t, err)
	u.User = url.UserPassword(role, password)
	return role, u.String(), granted
}

// TestLeastPrivilege does everything but migrate as a role that may not change the audit,
// nor make or drop anything.
func TestLeastPrivilege(t *testing.T) {
	owner := testkit.Postgres(t)
	open(t, owner)
	db, err := sql.Open("pgx", owner)
	check(t, err)
	t.Cleanup(func() { db.Close() })
	_, databaseURL, _ := leastRole(t, db, owner)
	s, err := dlqstore.Open(t.Context(), databaseURL, dlqstore.OpenOptions{})
	check(t, err)
	defer s.Close()

	check(t, s.Ping(t.Context()))
	list := letters(t, s, "orders", 0, 5)
	project(t, s, attempt(list[0], 0, 1, "nak"), dlqstore.Unreadable{Stream: "RELAY_DLQ", Sequence: 1, Subject: "dlq.x", Reason: "foreign"})
	check(t, s.Discard(t.Context(), list[0].ID, "", alice))
	check(t, s.Restore(t.Context(), list[0].ID, alice))
	replay, err := s.StartReplay(t.Context(), list[1].ID, &dlqstore.Edit{Payload: []byte("mended")}, alice)
	check(t, err)
	check(t, s.MarkReplaySent(t.Context(), replay))
	job := startJob(t, s, dlqstore.JobSpec{})
	advance(t, s, job.ID)
	end(t, s, true, list[2])
	_, err = s.ChangeJob(t.Context(), job.ID, dlqstore.JobCancelled, alice)
	check(t, err)
	for range 50 {
		project(t, s) // until the counts are added up
	}
	groups, err := s.Groups(t.Context(), dlqstore.Filter{}, 0)
	check(t, err)
	_, err = s.GroupHours(t.Context(), groups, dlqstore.Dead, noon)
	check(t, err)
	_, err = s.Audit(t.Context(), dlqstore.AuditFilter{Route: "orders"}, dlqstore.Page{})
	check(t, err)
	_, err = s.JobItems(t.Context(), job.ID, dlqstore.ItemSent, dlqstore.Page{})
	check(t, err)
	_, err = s.ResendReplays(t.Context(), "orders", time.Now().Add(time.Hour))
	check(t, err)
	n, err := s.Prune(t.Context(), dlqstore.Retention{Default: time.Hour}, time.Now().Add(31*24*time.Hour))
	check(t, err)
	want(t, "pruned", n > 0, true)

	relay, err := sql.Open("pgx", databaseURL)
	check(t, err)
	defer relay.Close()
	for _, forbidden := range []string{
		`UPDATE audit SET actor = 'nobody'`, `DELETE FROM audit`, `TRUNCATE audit`, `DROP TABLE audit`, `ALTER TABLE audit DISABLE TRIGGER ALL`,
		`CREATE TABLE more (n int)`, `UPDATE relay_schema SET version_id = 1`, `DELETE FROM quarantine`,
		`UPDATE dead_letter_counts SET n = 0`,
	} {
		if _, err := relay.Exec(forbidden); err == nil {
			t.Errorf("%s: the role may do it", forbidden)
		}
	}
}

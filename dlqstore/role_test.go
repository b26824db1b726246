package dlqstore_test

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// grants is all that a role needs that runs relay with --no-migrate.
const grants = `
	GRANT USAGE ON SCHEMA SCHEMA_NAME TO ROLE_NAME;
	GRANT SELECT, INSERT, UPDATE, DELETE ON dead_letters, dead_letter_attempts, replay_jobs, replay_items TO ROLE_NAME;
	GRANT SELECT, INSERT, DELETE ON dead_letter_counts TO ROLE_NAME;
	GRANT SELECT, INSERT ON audit, quarantine TO ROLE_NAME;
	GRANT SELECT ON relay_schema TO ROLE_NAME;`

// TestLeastPrivilege does everything but migrate as a role that may not change the
// audit, nor make or drop anything.
func TestLeastPrivilege(t *testing.T) {
	owner := testkit.Postgres(t)
	open(t, owner)
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
	s, err := dlqstore.Open(t.Context(), u.String(), dlqstore.OpenOptions{})
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

	relay, err := sql.Open("pgx", u.String())
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

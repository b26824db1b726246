package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relay/internal/testkit"
)

// Only those whom the files name get at the dead letters; probes need no name.
func TestOnlyThoseWhoMay(t *testing.T) {
	const token = "c2f1a8d09b7e4d63"
	file := filepath.Join(t.TempDir(), "tokens")
	line := fmt.Sprintf("ci:%x:operator\n", sha256.Sum256([]byte(token)))
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	routes := writeRoutes(t, ordersRoute, receiver.URL)
	relay := h.run(routes, "--admin-tokens", file)
	admin := relay.admin()
	h.publish(0, 1)

	dlq(t, admin, 2, []string{"set RELAY_ADMIN_TOKEN to a token"}, "list")
	t.Setenv(adminToken, "guessed")
	dlq(t, admin, 2, []string{"the token is wrong"}, "list")
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "relay to be ready")

	t.Setenv(adminToken, token)
	testkit.Eventually(t, func() bool {
		_, stdout, _ := command(t, "", "dlq", "list", "--admin", admin)
		return strings.Contains(stdout, "orders.created")
	}, "the dead letter in the list")
	dlq(t, admin, 0, []string{"discarded 1 of 1"}, "discard", "--all", "--yes")
	if strings.Contains(relay.stderr.String()+relay.stdout.String(), token) {
		t.Error("the token is in the log")
	}

	code, _, stderr := command(t, "", "run", "--routes", routes, "--database", "sqlite:"+filepath.Join(t.TempDir(), "x.db"), "--admin-users", "/nowhere/users")
	if code != 2 || !strings.Contains(stderr, "/nowhere/users") {
		t.Errorf("a users file that is not there: exit code %d: %s", code, stderr)
	}
}

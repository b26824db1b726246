package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"relay/internal/testkit"
)

// dlq carries out a command under relay dlq and checks its exit code and its output.
func dlq(t *testing.T, admin string, code int, want []string, args ...string) (stdout string) {
	t.Helper()
	got, stdout, stderr := command(t, "", append(append([]string{"dlq"}, args...), "--admin", admin)...)
	if got != code {
		t.Errorf("relay dlq %s: exit code %d, want %d", strings.Join(args, " "), got, code)
	}
	for _, w := range want {
		if !strings.Contains(stdout+stderr, w) {
			t.Errorf("relay dlq %s: %q is missing in\n%s%s", strings.Join(args, " "), w, stdout, stderr)
		}
	}
	return stdout
}

// awaitDeadLetters waits until the table is there and has so many.
func awaitDeadLetters(t *testing.T, admin string, n int) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		status, body := get(t, admin+"/api/v1/dead-letters?limit=500")
		return status == http.StatusOK && strings.Count(string(body), `"id"`) == n
	}, "%d dead letters", n)
}

// An operator's way through a night of failures, by the commands alone.
func TestDLQ(t *testing.T) {
	h := newHouse(t)
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	admin := h.run(writeRoutes(t, ordersRoute, receiver.URL)).admin()
	h.publish(0, 12)
	awaitDeadLetters(t, admin, 12)

	list := dlq(t, admin, 0, []string{"ROUTE", "billing", "rejected", "422", "orders.created"}, "list")
	if n := strings.Count(list, "msg_"); n != 12 {
		t.Errorf("list: %d ids, want 12:\n%s", n, list)
	}
	var some []letter
	if err := json.Unmarshal([]byte(dlq(t, admin, 0, nil, "list", "-o", "json", "--limit", "5")), &some); err != nil || len(some) != 5 {
		t.Errorf("list as JSON: %d, want 5: %v", len(some), err)
	}
	if got := dlq(t, admin, 0, nil, "list", "-o", "json", "--route", "nobody"); strings.TrimSpace(got) != "[\n]" {
		t.Errorf("an empty list as JSON: %q", got)
	}
	dlq(t, admin, 0, []string{"12", "billing", "the receiver answered 422"}, "groups", "--state", "dead")
	testkit.Eventually(t, func() bool { // attempts come by another stream
		_, body := get(t, admin+"/api/v1/dead-letters/"+some[0].ID)
		return strings.Contains(string(body), `"number":1`)
	}, "the attempt")
	dlq(t, admin, 0, []string{some[0].ID, "orders.created", "attempt 1", "\n" + string(some[0].Payload) + "\n"}, "show", some[0].ID)
	dlq(t, admin, 1, []string{"no such dead letter"}, "show", "msg_none")

	dlq(t, admin, 2, []string{"--all"}, "replay")
	dlq(t, admin, 2, []string{"exclude"}, "replay", "--all", some[0].ID)
	dlq(t, admin, 2, []string{"--status"}, "replay", "--status", "none")
	dlq(t, admin, 2, []string{"--min-attempts"}, "replay", "--min-attempts", "none")
	dlq(t, admin, 0, []string{"would replay 12 dead letters"}, "replay", "--status", "422", "--min-attempts", "1", "--dry-run")
	dlq(t, admin, 0, []string{"would replay 0 dead letters"}, "replay", "--min-attempts", "2", "--dry-run")
	dlq(t, admin, 0, []string{"would replay 12 dead letters"}, "replay", "--route", "billing", "--dry-run")
	dlq(t, admin, 2, []string{"replay 12 dead letters? [y/N]", "nothing was changed"}, "replay", "--route", "billing")
	dlq(t, admin, 0, []string{"discarded 2 of 2"}, "discard", "--route", "billing", "--limit", "2", "--note", "tests", "--yes")
	dlq(t, admin, 0, []string{"restored 1 of 1"}, "restore", "--all", "--limit", "1", "--yes")
	dlq(t, admin, 1, []string{"is dead"}, "restore", some[4].ID, "--yes")
	dlq(t, admin, 0, []string{"discarded 1 of 1"}, "discard", some[2].ID, "--yes")
	dlq(t, admin, 1, []string{"discarded 0 of 1", "is discarded since 20", "by anonymous"}, "discard", some[2].ID, "--yes")
	dlq(t, admin, 0, []string{"restored 1 of 1"}, "restore", some[2].ID, "--yes")

	dlq(t, admin, 1, []string{"1 of 1 done", "1 died again"}, "replay", some[3].ID, "--yes")
	stopped := dlq(t, admin, 1, []string{"paused (1 replays died again)", "of 11 done, 0 delivered, 1 died again", "10 remaining"},
		"replay", "--route", "billing", "--ramp", "--stop-after", "1", "--yes")
	dlq(t, admin, 0, []string{"cancelled"}, "job", regexp.MustCompile(`rpl_\w+`).FindString(stopped), "cancel")
	receiver.Answer(testkit.Status(http.StatusNoContent))
	dlq(t, admin, 0, []string{"done: 11 of 11 done, 11 delivered"}, "replay", "--route", "billing", "--ramp", "--yes")
	dlq(t, admin, 0, []string{"nothing to replay"}, "replay", "--all")

	file := filepath.Join(t.TempDir(), "dead.ndjson")
	dlq(t, admin, 0, []string{"11 dead letters exported"}, "export", "--state", "delivered", "--file", file)
	dlq(t, admin, 2, []string{"--file"}, "export", "--file", file)
	dlq(t, "127.0.0.1:1", 2, []string{"127.0.0.1:1"}, "export", "--file", file+"x")
	if _, err := os.Stat(file + "x"); err == nil {
		t.Error("an export that failed leaves its file, and cannot be tried again")
	}
	data, err := os.ReadFile(file)
	if lines := strings.Count(string(data), "\n"); err != nil || lines != 11 {
		t.Errorf("export: %d lines, want 11: %v", lines, err)
	}
	dlq(t, admin, 2, []string{"import 11 dead letters? [y/N]"}, "import", file)
	dlq(t, admin, 0, []string{"imported 0 dead letters, 11 were there already"}, "import", file, "--yes")
	dlq(t, admin, 2, []string{"--yes"}, "import", "-")
	dlq(t, admin, 2, []string{"no such file"}, "import", file+"x")
	other := newHouse(t).run(writeRoutes(t, ordersRoute, receiver.URL)).admin()
	testkit.Eventually(t, func() bool { status, _ := get(t, other+"/readyz"); return status == http.StatusOK }, "the schema")
	dlq(t, other, 0, []string{"would import 11 dead letters"}, "import", file, "--dry-run")
	if code, stdout, stderr := command(t, string(data)+"{}\n", "dlq", "import", "-", "--yes", "--admin", other); code != 2 || !strings.Contains(stderr, "dead letter 12: id") {
		t.Errorf("import of what is none: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := command(t, string(data), "dlq", "import", "-", "--yes", "--admin", other); code != 0 || !strings.Contains(stdout, "imported 11 dead letters, 0") {
		t.Errorf("import: exit code %d\n%s%s", code, stdout, stderr)
	}
	dlq(t, other, 0, []string{"done: 1 of 1 done, 1 delivered"}, "replay", "--all", "--limit", "1", "--yes")
	dlq(t, other, 0, []string{"nothing to bring back"}, "rebuild")
	dlq(t, admin, 0, []string{"would bring back 0 dead letters"}, "rebuild", "--dry-run")

	dlq(t, "127.0.0.1:1", 2, []string{"127.0.0.1:1", "--admin"}, "list")
	dlq(t, "ftp://x", 2, []string{"--admin"}, "list")
}

// A command that is interrupted leaves its job running, and says how to look at it.
func TestDLQInterrupted(t *testing.T) {
	h := newHouse(t)
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	admin := h.run(writeRoutes(t, ordersRoute, receiver.URL)).admin()
	h.publish(0, 3)
	awaitDeadLetters(t, admin, 3)
	receiver.Answer(testkit.Status(http.StatusNoContent))

	p := relay(t, "dlq", "replay", "--all", "--rate", "0.001", "--yes", "--admin", admin)
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "state=delivered")) == 1 }, "the first replay")
	p.signal(syscall.SIGINT)
	if code := p.wait(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	m := regexp.MustCompile(`relay dlq job (\S+) --watch`).FindStringSubmatch(p.stderr.String())
	if m == nil {
		t.Fatalf("it does not say how to look at the job:\n%s", p.stderr)
	}
	testkit.Eventually(t, func() bool { // the job counts what was delivered, and then its pace
		shown := dlq(t, admin, 0, []string{"running"}, "job", m[1])
		return strings.Contains(shown, "1 of 3 done") && strings.Contains(shown, "2 remaining (about ")
	}, "how far the job is, and how long the rest takes")
	dlq(t, admin, 0, []string{"paused"}, "job", m[1], "pause")
	dlq(t, admin, 1, []string{"paused"}, "job", m[1], "--watch")
	dlq(t, admin, 0, []string{"running"}, "job", m[1], "resume")
	dlq(t, admin, 0, []string{`"rate_per_second":0.5`}, "job", m[1], "rate", "0.5", "-o", "json")
	dlq(t, admin, 2, []string{"a number wanted", "slow"}, "job", m[1], "rate", "slow")
	dlq(t, admin, 0, []string{`"state":"cancelled"`}, "job", m[1], "cancel", "-o", "json")
	dlq(t, admin, 1, []string{"is cancelled"}, "job", m[1], "resume")
	dlq(t, admin, 2, []string{"pause, resume or cancel, or rate", "stop"}, "job", m[1], "stop")
	dlq(t, admin, 1, []string{"no such replay job"}, "job", "rpl_none")
}

// A job lives in the database: it goes on after relay was killed and Postgres with it.
func TestDLQJobOutlivesRelay(t *testing.T) {
	h := newHouse(t)
	postgres := testkit.PostgresServer(t)
	h.database = postgres.URL
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	routes := writeRoutes(t, ordersRoute, receiver.URL)
	p := h.run(routes)
	admin := p.admin()
	h.publish(0, 30)
	awaitDeadLetters(t, admin, 30)
	receiver.Answer(testkit.Status(http.StatusNoContent))
	id := regexp.MustCompile(`rpl_\w+`).FindString(dlq(t, admin, 0, nil, "replay", "--all", "--rate", "20", "--detach", "--yes"))
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "state=delivered")) > 0 }, "the first replay")
	p.signal(syscall.SIGKILL)
	p.wait()
	for _, err := range []error{postgres.Stop("immediate"), postgres.Start()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	admin = h.run(routes).admin()
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "relay to be ready")
	dlq(t, admin, 0, []string{"done: 30 of 30 done, 30 delivered"}, "job", id, "--watch")
}

// Two processes on one database: of two people who replay one dead letter at once, each
// on another's page, one is told of the other, and the receiver sees it once; so it does
// each of a job that both advance.
func TestDLQTwoProcesses(t *testing.T) {
	const alone, inJob = 10, 200
	h := newHouse(t)
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	routes := writeRoutes(t, ordersRoute, receiver.URL)
	admins := []string{h.run(routes).admin(), h.run(routes).admin()}
	h.publish(0, alone+inJob)
	awaitDeadLetters(t, admins[0], alone+inJob)
	h.awaitSettled("relay-billing")
	receiver.Answer(testkit.Status(http.StatusNoContent))
	before := len(receiver.Requests())

	for _, d := range deadLetters(t, admins[0], "")[:alone] {
		statuses := make(chan int)
		for _, admin := range admins {
			go func() {
				resp, err := http.Post(admin+"/api/v1/dead-letters/"+d.ID+"/replay", "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					statuses <- 0
					return
				}
				_ = resp.Body.Close()
				statuses <- resp.StatusCode
			}()
		}
		if first, second := <-statuses, <-statuses; min(first, second) != http.StatusAccepted || max(first, second) != http.StatusConflict {
			t.Errorf("two replays of one: %d and %d, want %d and %d", first, second, http.StatusAccepted, http.StatusConflict)
		}
	}
	dlq(t, admins[1], 0, []string{"done: 200 of 200 done, 200 delivered"}, "replay", "--all", "--yes")
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admins[0], "state=delivered")) == alone+inJob }, "all delivered")
	if n := len(receiver.Requests()) - before; n != alone+inJob {
		t.Errorf("%d requests for %d replays", n, alone+inJob)
	}
}

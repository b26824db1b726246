package main

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"relay/internal/failpoint"
	"relay/internal/testkit"
)

// dyingRoute has an ack_wait as short as it may be: what a killed process had in hand
// comes again soon.
const dyingRoute = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    consumer: { ack_wait: 7s }
    webhook: { url: "%s", timeout: 1s }
`

// A process that is killed at any step of a delivery's death, of its projection or of
// its replay leaves nothing lost, one row, and no request beyond what an answer that
// nobody wrote down makes necessary.
func TestKilledAtEveryStep(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "relay")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", binary, "relay/cmd/relay").CombinedOutput(); err != nil {
		t.Fatalf("build relay with fail points: %v\n%s", err, out)
	}
	for point, tt := range map[string]struct {
		replays bool // the step belongs to a replay
		posts   int  // requests for the message in the end
		// The step is not the delivery's own: one may be under way beside it, and its
		// answer lost with the process.
		beside bool
	}{
		failpoint.Answered:  {false, 2, false},
		failpoint.Parked:    {false, 2, false},
		failpoint.Settled:   {false, 1, false},
		failpoint.Projected: {false, 1, true},
		failpoint.Committed: {false, 1, true},
		failpoint.Offered:   {true, 2, true},
		failpoint.Replayed:  {true, 3, false},
		failpoint.Recorded:  {true, 2, true},
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel() // most of it is waiting for ack_wait
			h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
			routes := writeRoutes(t, dyingRoute, r.URL)
			run := func(armed string) *process {
				cmd := exec.Command(binary, "run", "--routes", routes, "--nats", h.nats.URL, "--database", h.database, "--admin", "127.0.0.1:0")
				return startProcess(t, cmd, failpoint.Env+"="+armed)
			}
			list := func(p *process) (rows []deadLetter) {
				testkit.Eventually(t, func() bool {
					status, _ := get(t, p.admin()+"/api/v1/dead-letters")
					if status == http.StatusOK {
						rows = deadLetters(t, p.admin(), "")
					}
					return len(rows) > 0
				}, "the dead letter in the table")
				return rows
			}

			p := run(point)
			h.publish(0, 1)
			if tt.replays {
				id := list(p)[0].ID
				r.Answer(testkit.Status(http.StatusNoContent))
				// The process may die before it has answered.
				go func() {
					resp, err := http.Post(p.admin()+"/api/v1/dead-letters/"+id+"/replay", "application/json", strings.NewReader("{}"))
					if err == nil {
						_ = resp.Body.Close()
					}
				}()
			}
			if code := p.wait(); code != -1 || !strings.Contains(p.stderr.String(), "failpoint "+point) {
				t.Fatalf("exit code %d; it was to be killed at %s", code, point)
			}

			p = run("")
			want := "dead"
			if tt.replays {
				want = "delivered"
			}
			testkit.Eventually(t, func() bool { return list(p)[0].State == want }, "the dead letter to be %s", want)
			r.Answer(testkit.Status(http.StatusNoContent))
			h.publish(1, 1)
			testkit.Eventually(t, func() bool { return bodies(r)["1"] == 1 }, "the next message")
			h.awaitSettled("relay-billing")
			testkit.Eventually(t, func() bool { return metricIs(t, p.admin(), "relay_projection_lag 0") }, "everything in the table")
			testkit.Eventually(t, func() bool { return settled(h.js, "RELAY_REPLAY", "relay-replay-billing") }, "the replay lane to be empty")
			if rows := list(p); len(rows) != 1 || rows[0].State != want {
				t.Errorf("got rows %+v, want one that is %s", rows, want)
			}
			if n := bodies(r)["0"]; n != tt.posts && (!tt.beside || n != tt.posts+1) {
				t.Errorf("%d requests for the message, want %d", n, tt.posts)
			}
		})
	}
}

package chaos_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"relay/chaos/ledger"
)

// clockEnv names the file that moves a relay's clock; testdata/clock reads it.
const clockEnv = "CHAOS_CLOCK"

// clockOverlay writes what `go build -overlay` needs to build relay on a package time
// whose wall clock can be moved: a static program heeds no libfaketime, and so the
// libraries' clocks jump with relay's own. It returns the path of the overlay.
func clockOverlay(dir string) (string, error) {
	root := exec.Command("go", "env", "GOROOT")
	root.Dir = source()
	out, err := root.Output()
	if err != nil {
		return "", err
	}
	std := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	text, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", err
	}
	const now = "sec, nsec, mono := runtimeNow()\n"
	if !bytes.Contains(text, []byte("func Now() Time {\n\t"+now)) {
		return "", fmt.Errorf("time.Now in %s does not begin with %q", std, now)
	}
	text = bytes.Replace(text, []byte(now), []byte(now+"\tsec += movedBy()\n"), 1)
	changed, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	moved, err := filepath.Abs("testdata/clock/moved.go")
	if err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(std, "time.go"):  changed,
		filepath.Join(std, "moved.go"): moved,
	}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(changed, text, 0o600), os.WriteFile(overlay, replace, 0o600))
}

// clockFile is what moves the clock of the processes that were started with it.
type clockFile struct {
	h    *house
	path string
}

func (h *house) newClock() clockFile {
	c := clockFile{h, filepath.Join(h.dir, "clock")}
	c.move(0)
	return c
}

// move sets the clock so far before or behind the machine's. The file is written in
// place, for it is mapped.
func (c clockFile) move(by time.Duration) {
	c.h.t.Helper()
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		c.h.t.Fatal(err)
	}
}

// clockJumps moves relay's clock alone: those of NATS, Postgres and the receivers stay.
func clockJumps(h *house) {
	h.writeRoutes(strings.Replace(h.routesYAML(), "retry: {", "retry: { max_age: 30m,", 1))
	clock := h.newClock()
	r := h.start(relayOptions{clock: clock.path})
	h.warm()
	h.receiver.answer(h.later)
	h.publish(2000, 60)
	for _, by := range []time.Duration{time.Hour, 0, 24 * time.Hour, 0, -time.Hour, 0, -24 * time.Hour, 0} {
		// At a rate, so that a job is under way at each jump.
		if err := r.replay("billing", `,"rate_per_second":4,"limit":10`); err != nil {
			h.t.Errorf("replay what is dead: %v", err)
		}
		h.pause(2*time.Second, 4*time.Second)
		clock.move(by)
	}
	h.settle()
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		clock.move(by)
		const cpu = "process_cpu_seconds_total"
		before := r.metrics()[cpu]
		<-time.After(5 * time.Second)
		used := r.metrics()[cpu] - before
		h.note("%.2f s of CPU in 5 s at rest, %s away", used, by)
		if used > 2 {
			h.t.Errorf("relay is busy with nothing to do: %.2f s of CPU in 5 s, its clock %s away", used, by)
		}
	}
	clock.move(0)
	for what, where := range map[string]string{
		"early": `failed_at < now() - interval '30 minutes'`, "late": `failed_at > now() + interval '30 minutes'`,
	} {
		if n, err := h.count(h.t.Context(), `SELECT count(*) FROM dead_letters WHERE `+where); err != nil || n == 0 {
			h.t.Errorf("relay did not feel its clock jump: %d dead letters are stamped too %s (%v)", n, what, err)
		}
	}
	if n, err := h.count(h.t.Context(), `SELECT count(*) FROM dead_letters WHERE reason = 'expired'`); err != nil || n > 0 {
		h.t.Errorf("%d dead letters expired of the clock (%v)", n, err)
	}
}

// later is mixed, with a receiver whose clock is a day ahead, and who says on each 503
// at which second it wants the message again.
func (h *house) later(q ledger.Request, nth int) reply {
	a := h.mixed(q, nth)
	if a.status == http.StatusServiceUnavailable {
		now := time.Now().UTC().Add(24 * time.Hour)
		a.raw = say(fmt.Sprintf("HTTP/1.1 503 Later\r\nConnection: close\r\nContent-Length: 0\r\nDate: %s\r\nRetry-After: %s\r\n\r\n",
			now.Format(http.TimeFormat), now.Add(time.Second).Format(http.TimeFormat)))
	}
	return a
}

package main

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"relay/internal/testkit"
)

// Of 40 successes one in ten is written, of the failures among them every one.
func TestLogSample(t *testing.T) {
	h := newHouse(t)
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if n := string(q.Body); n == "7" || n == "8" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := h.run(writeRoutes(t, ordersRoute, r.URL), "--log-sample", "10", "--log-format", "json")
	p.admin()
	h.publish(0, 42)
	h.awaitSettled("relay-billing")
	p.signal(os.Interrupt)
	p.wait()
	log := p.stderr.String()
	for outcome, want := range map[string]int{`"outcome":"ack"`: 4, `"outcome":"nak"`: 4, `"outcome":"term"`: 2, `"sample":10`: 4} {
		if got := strings.Count(log, outcome); got != want {
			t.Errorf("%d lines with %s, want %d", got, outcome, want)
		}
	}
}

func TestLogSampleRefuses(t *testing.T) {
	for _, command := range []string{"run", "dev"} {
		var stderr bytes.Buffer
		args := []string{command, "--log-sample", "0", "--admin", "127.0.0.1:0"}
		if command == "run" {
			args = append(args, "--routes", writeRoutes(t, ordersRoute, "http://127.0.0.1:9"), "--embedded", "--data", t.TempDir())
		}
		if code := run(t.Context(), args, nil, &stderr, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "--log-sample") {
			t.Errorf("%s: exit %d, want 2\n%s", command, code, stderr.String())
		}
	}
}

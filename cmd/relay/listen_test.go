package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
	"relay/internal/webhook"
)

// A copy of what the route gets comes to the developer's app, signed and in order, also
// over a restart of the server; the route's own consumer stands where it stood.
func TestListen(t *testing.T) {
	h := newHouse(t)
	receiver, app := testkit.NewReceiver(t, nil), testkit.NewReceiver(t, testkit.Status(http.StatusNoContent, http.StatusServiceUnavailable, http.StatusNoContent))
	t.Setenv("BILLING_TOKEN", "hunter2")
	file := writeRoutes(t, strings.Replace(ordersRoute, "webhook: {",
		`filter: 'string(body) != "4"'`+"\n    webhook: { auth: { bearer: { env: BILLING_TOKEN } }, headers: { X-Tenant: acme }, forward_headers: [Nothing],", 1), receiver.URL)
	p := h.run(file)
	p.admin()
	h.publish(0, 3)
	h.awaitSettled("relay-billing")
	p.signal(os.Interrupt)
	p.wait()
	l := relay(t, "listen", "--routes", file, "--route", "billing", "--forward-to", strings.TrimPrefix(app.URL, "http://")+"/hooks",
		"--since", "1h", "--subject", "orders.created", "--print-secret", "-H", "x-tenant: me", "--output", "json", "--nats", h.nats.URL)
	app.Wait(t, 3)
	h.publish(3, 4)
	app.Wait(t, 6)
	h.nats.Restart(t)
	testkit.Eventually(t, func() bool { return strings.Contains(l.stderr.String(), "listening anew") }, "listen to notice that its consumer has gone")
	if _, err := h.js.Publish(t.Context(), "orders.other", []byte("no")); err != nil {
		t.Fatal(err)
	}
	h.publish(7, 3)
	got := app.Wait(t, 9)
	l.signal(os.Interrupt)
	if code := l.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	ids := map[string]string{} // of the route's own requests, by body
	for _, q := range receiver.Requests() {
		ids[string(q.Body)] = q.Header.Get("webhook-id")
	}
	secret := regexp.MustCompile(`signing with (whsec_\S+)`).FindStringSubmatch(l.stderr.String())[1]
	for i, want := range strings.Fields("0 1 2 3 5 6 7 8 9") { // 4 the filter leaves out
		q := got[i]
		if err := webhook.Verify(secret, q.Header, q.Body, time.Now()); err != nil {
			t.Error(err)
		}
		if string(q.Body) != want || q.Header.Get("X-Tenant") != "me" || q.Header.Get("Authorization") != "" || q.Path != "/hooks" {
			t.Errorf("request %d: %s %s %v, want body %s", i, q.Path, q.Body, q.Header, want)
		}
		if id, own := q.Header.Get("webhook-id"), ids[want]; i < 3 && id != own {
			t.Errorf("request %d has the webhook-id %s and the route's own %s", i, id, own)
		}
	}
	lines := strings.Split(strings.TrimSpace(l.stdout.String()), "\n")
	var second forwarded
	if err := json.Unmarshal([]byte(lines[1]), &second); err != nil || len(lines) != 9 ||
		second.Subject != "orders.created" || second.Sequence != 2 || second.Status != 503 || second.Outcome != "nak" {
		t.Errorf("%d lines, the second %+v: %v", len(lines), second, err)
	}
	h.checkOnlyRoute(3, 8)
}

// checkOnlyRoute says whether the route's consumer is the stream's only one, and stands
// where it should.
func (h *house) checkOnlyRoute(floor, pending uint64) {
	stream, err := h.js.Stream(h.t.Context(), "ORDERS")
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for c := range stream.ListConsumers(h.t.Context()).Info() {
		names = append(names, c.Name)
		if c.AckFloor.Stream != floor || c.NumPending != pending {
			h.t.Errorf("consumer %s: ack floor %d, %d pending; want %d, %d", c.Name, c.AckFloor.Stream, c.NumPending, floor, pending)
		}
	}
	if strings.Join(names, " ") != "relay-billing" {
		h.t.Errorf("consumers %v are left", names)
	}
}

func TestListenRefuses(t *testing.T) {
	h := newHouse(t)
	for _, c := range []jetstream.StreamConfig{
		{Name: "ORDERS", Subjects: []string{"orders.>"}},
		{Name: "JOBS", Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy},
	} {
		if _, err := h.js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	file := writeRoutes(t, ordersRoute+`
  - { name: jobs, stream: JOBS, filter_subjects: [jobs.>], webhook: { url: "http://127.0.0.1:1" } }
  - { name: lost, stream: NOWHERE, filter_subjects: [lost.>], webhook: { url: "http://127.0.0.1:1" } }
`, "http://127.0.0.1:1")
	for want, args := range map[string][]string{
		"--forward-to":                  {"--route", "billing"},
		`no route "biling"`:             {"--route", "biling", "--forward-to", "x"},
		"--forward-to takes an http":    {"--route", "billing", "--forward-to", "ftp://x"},
		"--since":                       {"--route", "billing", "--forward-to", "x", "--since", "yesterday"},
		"--output":                      {"--route", "billing", "--forward-to", "x", "--output", "xml"},
		"takes keys from a terminal":    {"--route", "billing", "--forward-to", "x", "--output", "interactive"},
		"gets only orders.>":            {"--route", "billing", "--forward-to", "x", "--subject", "invoices.>"},
		`stream "JOBS" is a work queue`: {"--route", "jobs", "--forward-to", "x"},
		`look at stream "NOWHERE"`:      {"--route", "lost", "--forward-to", "x"},
	} {
		code, stdout, stderr := command(t, "", append([]string{"listen", "--routes", file, "--nats", h.nats.URL}, args...)...)
		if code != exitUsage || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("%v: exit %d, want 2 and %q: %s%s", args, code, want, stdout, stderr)
		}
	}
}

package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"relay/internal/testkit"
)

// What happens to a route is told once, though two relays see it, and so is its end.
func TestNotify(t *testing.T) {
	h := newHouse(t)
	alerts, r := testkit.NewReceiver(t, nil), testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable))
	file := writeRoutes(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    webhook: { url: "%s", timeout: 10s }
    retry: { max_attempts: 2, backoff: { initial: 20ms, max: 100ms } }
    circuit_breaker: { consecutive_failures: 6, open_for: 1s }
    notify: { webhook: { url: "%s" }, dead_letters_above: 1 }
`, r.URL, alerts.URL)
	p := h.run(file)
	h.run(file).admin()
	admin := p.admin()
	told := func() []string {
		var all []string
		for _, q := range alerts.Requests() {
			var e event
			if err := json.Unmarshal(q.Body, &e); err != nil || e.Route != "billing" || e.Message == "" || e.At.IsZero() {
				t.Errorf("got %s (%v), want an event of the route", q.Body, err)
			}
			all = append(all, string(e.Type)+string(e.Of))
		}
		slices.Sort(all)
		return all
	}
	wait := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, func() bool { return len(told()) >= len(want) }, "the events")
		if got := told(); !slices.Equal(got, want) {
			t.Fatalf("told %v, want %v", got, want)
		}
	}
	h.publish(0, 40)
	wait("breaker_open", "dead_letters_above", "new_cause")

	r.Answer(testkit.Status(http.StatusNoContent))
	h.awaitSettled("relay-billing")
	wait("breaker_open", "dead_letters_above", "new_cause", "recoveredbreaker_open")

	for _, d := range deadLetters(t, admin, "state=dead") {
		if status, answer := post(t, admin+"/api/v1/dead-letters/"+d.ID+"/discard", `{"reason":"test"}`); status != http.StatusOK {
			t.Fatalf("discard: %d %s", status, answer)
		}
	}
	wait("breaker_open", "dead_letters_above", "new_cause", "recoveredbreaker_open", "recovereddead_letters_above")
}

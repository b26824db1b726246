package main

import (
	"strings"
	"syscall"
	"testing"

	"relay/internal/testkit"
)

func TestPlan(t *testing.T) {
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	file := writeRoutes(t, ordersRoute, r.URL)
	plan := func(file string, more ...string) (int, string) {
		code, stdout, stderr := command(t, "", append([]string{"plan", "--nats", h.nats.URL, "--routes", file}, more...)...)
		return code, stdout + stderr
	}
	want := func(code int, out string, wantCode int, texts ...string) {
		t.Helper()
		if code != wantCode {
			t.Errorf("exit code %d, want %d", code, wantCode)
		}
		for _, text := range texts {
			if !strings.Contains(out, text) {
				t.Errorf("output without %q:\n%s", text, out)
			}
		}
	}
	code, out := plan(file)
	want(code, out, exitChanges, `+ create stream "ORDERS"`, "    subjects: orders.>", `+ create consumer "relay-billing" of stream "ORDERS" (route "billing")`, "discard: old\n", "ack_policy: explicit\n", "max_age: 720h\n", " to create, 0 to update")

	p := h.run(file)
	p.admin()
	h.publish(0, 1)
	r.Wait(t, 1) // a consumer that has not seen the message yet counts as done
	h.awaitSettled("relay-billing")
	p.signal(syscall.SIGTERM)
	p.wait()
	code, out = plan(file)
	want(code, out, exitDone, "0 to create, 0 to update, 0 to recreate, 0 refused, ")

	changed := writeRoutes(t, strings.Replace(ordersRoute, "ack_wait: 20s", "ack_wait: 25s, deliver_policy: new", 1), r.URL)
	code, out = plan(changed)
	want(code, out, exitChanges, `± recreate consumer "relay-billing"`, "ack_wait: 20s → 25s", "deliver_policy: all → new", "position kept: it goes on at sequence 2", "--allow-recreate")

	other := writeRoutes(t, strings.Replace(ordersRoute, "name: billing", "name: other", 1), r.URL)
	h.publish(1, 3)
	code, out = plan(other)
	want(code, out, exitChanges, `? consumer "relay-billing" of stream "ORDERS" (route "billing" has gone): 3 pending, 0 not settled; orphan`)
	code, out = plan(other, "--prune")
	want(code, out, exitChanges, `- consumer "relay-billing" of stream "ORDERS" (route "billing" has gone): 3 pending, 0 not settled; removed`)
	code, out = plan(other)
	if want(code, out, exitChanges); strings.Contains(out, "relay-billing") {
		t.Errorf("still there after the prune:\n%s", out)
	}

	code, out = plan(writeRoutes(t, strings.Replace(ordersRoute, "streams:", "x-streams:", 1), r.URL))
	want(code, out, exitChanges) // the stream is there
	code, out = plan(writeRoutes(t, strings.ReplaceAll(ordersRoute, "stream: ORDERS", "stream: LOST"), r.URL))
	want(code, out, exitWrong, `! refuse consumer "relay-billing" of stream "LOST"`, "list it under streams:")
	code, _, errText := command(t, "", "plan", "--nats", "nats://127.0.0.1:1", "--routes", file)
	want(code, errText, exitUsage, "127.0.0.1:1")
	code, _, errText = command(t, "", "plan", "--nats", h.nats.URL)
	want(code, errText, exitUsage, "--routes")
}

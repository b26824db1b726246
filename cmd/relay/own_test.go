package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"relay/internal/testkit"
)

// A webhook whose egress is strict reaches neither NATS nor the database nor the admin
// page of the relay that sends it, even where loopback is allowed.
func TestStrictEgressRefusesRelaysOwn(t *testing.T) {
	h := newHouse(t)
	database, err := url.Parse(h.database)
	if err != nil {
		t.Fatal(err)
	}
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:1")
	p := h.run(file)
	r := testkit.NewReceiver(t, nil)
	targets := map[string]string{
		"nats":     "http://" + strings.TrimPrefix(h.nats.URL, "nats://"),
		"database": "http://" + database.Host,
		"admin":    p.admin(),
		"other":    r.URL,
	}
	yaml := "version: 1\nstreams: [{ name: ORDERS, subjects: [orders.>] }]\nroutes:\n"
	for name, target := range targets {
		yaml += "  - name: " + name + "\n    stream: ORDERS\n    filter_subjects: [orders.>]\n    webhook: { url: \"" + target +
			"\", egress: { mode: strict, allow: [127.0.0.0/8] } }\n"
	}
	rewrite(t, file, yaml)
	testkit.Eventually(t, func() bool { status, _ := post(t, p.admin()+"/api/v1/reload", "{}"); return status == http.StatusOK }, "the new file to be in force")
	h.publish(0, 1)
	r.Wait(t, 1)
	for _, name := range []string{"nats", "database", "admin"} {
		testkit.Eventually(t, func() bool {
			for line := range strings.Lines(p.stderr.String()) {
				if strings.Contains(line, `msg="held back" route=`+name) && strings.Contains(line, "one of relay's own") {
					return true
				}
			}
			return false
		}, "route %s to be refused its target", name)
	}
}

package main

import (
	"strings"
	"testing"
)

func TestRoutesExplain(t *testing.T) {
	file := writeRoutes(t, `
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults: { stream: ORDERS, webhook: { url: "http://127.0.0.1:9000/hooks?token=hidden" } }
routes:
  - { name: all, filter_subjects: [orders.>], filter: 'body.total > 0' }
  - { name: updates, filter_subjects: [orders.*.updated, orders.deleted] }
  - { name: "off", enabled: false, filter_subjects: [orders.created] }
  - { name: others, stream: PAYMENTS, filter_subjects: [payments.>] }
  - { name: long, filter_subjects: [orders.created.now] }
  - { name: short, stream: OLD, filter_subjects: ["*"] }
`)
	code, out, errText := command(t, "", "routes", "explain", "orders.created", "--routes", file)
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errText)
	}
	for _, want := range []string{
		"yes  all (" + file + ":5:5): filter orders.> of stream ORDERS matches; POST http://127.0.0.1:9000/hooks",
		"if the message passes its filter: body.total > 0",
		`no   updates (` + file + `:6:5): filter orders.*.updated has more than the 2 tokens of the subject; filter orders.deleted wants "deleted" as token 2, not "created"`,
		"filter orders.created matches, but the route is disabled",
		`filter payments.> wants "payments" as token 1, not "orders"`,
		"filter orders.created.now has more than the 2 tokens of the subject",
		"filter * has fewer than the 2 tokens of the subject",
		"orders.created takes 1 of 6 routes",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, list, _ := command(t, "", "routes", "show", "--routes", file); strings.Contains(out+list, "hidden") {
		t.Errorf("a URL's query, which may hold a secret, is shown:\n%s%s", out, list)
	}
	if code, _, errText := command(t, "", "routes", "explain", "orders.*", "--routes", file); code != exitUsage || !strings.Contains(errText, "wildcards") {
		t.Errorf("a subject with a wildcard: exit %d, %s", code, errText)
	}
}

func TestRoutesShow(t *testing.T) {
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:9000")
	for name, test := range map[string]struct {
		flags []string
		want  []string
	}{
		"list":     {nil, []string{"ROUTE", "billing  ORDERS  orders.>", "http://127.0.0.1:9000"}},
		"resolved": {[]string{"--resolved"}, []string{"    concurrency: 4\n", "      durable: relay-billing\n", "      max: 100ms\n"}},
		"origin":   {[]string{"--resolved", "--origin"}, []string{"# " + file + ":8\n", "# default\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errText := command(t, "", append([]string{"routes", "show", "--routes", file}, test.flags...)...)
			if code != exitDone {
				t.Fatalf("exit %d, %s", code, errText)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

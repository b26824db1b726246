package routes_test

import (
	"os"
	"strings"
	"testing"

	"relay/routes"
)

// What is written out resolved is a routes file that says the same, and resolved again
// it is the same.
func TestWriteResolved(t *testing.T) {
	for _, file := range []string{"../routes.example.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first := resolve(t, data, false)
		if second := resolve(t, []byte(first), false); second != first {
			t.Errorf("%s: resolved twice it is\n%s\nand not\n%s", file, second, first)
		}
	}
}

func resolve(t *testing.T, data []byte, origin bool) string {
	t.Helper()
	c, err := routes.Parse("../routes.yaml", data, routes.Options{})
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	var b strings.Builder
	if err := c.WriteResolved(&b, origin); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each value says where it comes from, and none that is a secret is shown.
func TestWriteResolvedOrigin(t *testing.T) {
	t.Setenv("TENANT", "hidden")
	got := resolve(t, []byte(`defaults:
  webhook: { timeout: 9s }
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.>]
    order: strict
    retry: { schedule: [5s, 1m] }
    webhook:
      url: http://127.0.0.1:9000/hooks
      headers: { X-Tenant: "${TENANT}" }
      auth: { bearer: { env: BILLING_TOKEN } }
`), true)
	for text, origin := range map[string]string{
		"  - name: billing":                      "../routes.yaml:4",
		"    enabled: true":                      "default",
		"    order: strict":                      "../routes.yaml:7",
		"    concurrency: 1":                     "default",
		"      durable: relay-billing":           "default",
		"      timeout: 9s":                      "../routes.yaml:2",
		"      schedule: [5s, 1m]":               "../routes.yaml:8",
		"        X-Tenant: '${TENANT}'":          "../routes.yaml:11",
		"          env: BILLING_TOKEN":           "../routes.yaml:12",
		"      stream: RELAY_DLQ":                "default",
		"    filter_subjects: [orders.>]":        "../routes.yaml:6",
		"      url: http://127.0.0.1:9000/hooks": "../routes.yaml:10",
	} {
		found := false
		for line := range strings.Lines(got) {
			before, after, _ := strings.Cut(strings.TrimSpace(line), " # ")
			found = found || strings.TrimSpace(before) == strings.TrimSpace(text) && after == origin
		}
		if !found {
			t.Errorf("no line %q from %s", text, origin)
		}
	}
	for _, text := range []string{"hidden", "backoff"} {
		if strings.Contains(got, text) {
			t.Errorf("%q is shown", text)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

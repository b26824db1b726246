package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"relay/internal/testkit"
	"relay/internal/webhook"
)

// One POST as the route would send it, with no NATS anywhere: what went out, what came
// back and what it means.
func TestTestRoute(t *testing.T) {
	secret := webhook.NewSecret()
	t.Setenv("BILLING_WHSEC", secret)
	t.Setenv("BILLING_TOKEN", "hunter2")
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		if err := webhook.Verify(secret, q.Header, q.Body, time.Now()); err != nil {
			t.Error(err)
		}
		switch string(q.Body) {
		case "busy":
			w.Header().Set("Retry-After", "40")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "wrong":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte("no such order\x1b[31m"))
		case "gone":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	file := writeRoutes(t, `
version: 1
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.*.paid]
    filter: 'headers["Event-Type"] != "noise"'
    webhook:
      url: "%s/hook"
      signing: { secrets: [ { env: BILLING_WHSEC } ] }
      auth: { bearer: { env: BILLING_TOKEN } }
    retry: { max_attempts: 3 }
`, r.URL)
	for name, tt := range map[string]struct {
		body string
		args []string
		code int
		want []string
	}{
		"ack": {`{"total":12}`, nil, 0, []string{
			"POST " + r.URL + "/hook\n", "Authorization: [not shown]\n", "relay-subject: orders.test.paid\n", "webhook-signature: v1,",
			"\n\n{\"total\":12}\n", "204 No Content", "outcome: ack, it is delivered\n",
		}},
		"nak":             {"busy", nil, 1, []string{"503 Service Unavailable\n", "Retry-After: 40\n", "outcome: nak, tried again after about 40s ("}},
		"the last":        {"busy", []string{"--attempt", "3"}, 1, []string{"relay-attempt: 3\n", "outcome: term, a dead letter: exhausted"}},
		"term":            {"wrong", nil, 1, []string{"422 Unprocessable Entity\n", "\n\nno such order�[31m\n", "outcome: term, a dead letter: rejected"}},
		"no answer":       {"gone", nil, 1, []string{"no answer after", "reset: ", "outcome: nak"}},
		"no text":         {"\xff\x00", nil, 0, []string{"(2 bytes that are no text)", "Content-Type: application/octet-stream\n"}},
		"another subject": {"{}", []string{"--subject", "orders.1.sent"}, 0, []string{"none of its filter_subjects (orders.*.paid) matches orders.1.sent"}},
		"filtered":        {"{}", []string{"-H", "Event-Type: noise"}, 0, []string{"ack it: its filter is false"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.Requests())
			code, stdout, stderr := command(t, tt.body, append([]string{"test", "billing", "-", "--routes", file}, tt.args...)...)
			if code != tt.code || stderr != "" {
				t.Errorf("exit %d, want %d: %s", code, tt.code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("%q is missing:\n%s", want, stdout)
				}
			}
			if strings.Contains(stdout, "hunter2") || strings.Contains(stdout, secret) {
				t.Errorf("a secret is shown:\n%s", stdout)
			}
			if got := r.Requests()[before:]; len(got) != 1 || string(got[0].Body) != tt.body ||
				!regexp.MustCompile(`^msg_test_[a-z0-9]+$`).MatchString(got[0].Header.Get("webhook-id")) {
				t.Errorf("the receiver got %+v", got)
			}
		})
	}
}

package routes_test

import (
	"errors"
	"testing"
	"time"

	"relay/routes"
)

const smallest = `
streams:
  - { name: ORDERS, subjects: [orders.>] }
routes:
  - name: orders-to-billing
    stream: ORDERS
    filter_subjects: [orders.created]
    webhook:
      url: https://billing.example.com/hooks/orders
`

func TestParseSetsEveryDefault(t *testing.T) {
	c, err := routes.Parse("routes.yaml", []byte(smallest), routes.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, ok := c.Route("orders-to-billing")
	if !ok {
		t.Fatal("the route is not there")
	}
	checks := []struct {
		name      string
		got, want any
	}{
		{"enabled", r.Enabled, true},
		{"durable", r.Consumer.Durable, "relay-orders-to-billing"},
		{"type", r.Consumer.Type, routes.Pull},
		{"deliver policy", r.Consumer.DeliverPolicy, routes.DeliverAll},
		{"ack wait", r.Consumer.AckWait, 30 * time.Second},
		{"max ack pending", r.Consumer.MaxAckPending, 10_000},
		{"timeout", r.Webhook.Timeout, 15 * time.Second},
		{"cloudevents", r.Webhook.CloudEvents, routes.CloudEventsNone},
		{"egress", r.Webhook.Egress.Mode, routes.EgressInternal},
		{"concurrency", r.Concurrency, 16},
		{"rate limit", r.RateLimit, routes.RateLimit{}},
		{"order", r.Order, routes.OrderNone},
		{"breaker", r.Breaker, routes.CircuitBreaker{ConsecutiveFailures: 10, OpenFor: 30 * time.Second, Ramp: true}},
		{"max attempts", r.Retry.MaxAttempts, 8},
		{"max age", r.Retry.MaxAge, 24 * time.Hour},
		{"backoff", r.Retry.Backoff, routes.Backoff{Initial: time.Second, Multiplier: 2, Max: 10 * time.Minute, Jitter: 0.2}},
		{"retry after", r.Retry.RetryAfterMax, time.Hour},
		{"dead letter", r.DeadLetter, routes.DeadLetter{Stream: "RELAY_DLQ", SubjectPrefix: "dlq", MaxAge: 30 * 24 * time.Hour, Retention: 90 * 24 * time.Hour}},
		{"file's dead letter", c.DeadLetter, r.DeadLetter},
		{"position", r.Pos, routes.Position{File: "routes.yaml", Line: 5, Column: 5}},
		{"storage", c.Streams[0].Storage, routes.StorageFile},
		{"retention", c.Streams[0].Retention, routes.RetentionLimits},
		{"replicas", c.Streams[0].Replicas, 1},
		{"discard", c.Streams[0].Discard, routes.DiscardOld},
	}
	for _, check := range checks {
		if check.got != check.want {
			t.Errorf("%s: got %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestAnInvalidFileIsProblemsAndAMissingOneIsNot(t *testing.T) {
	var problems routes.Problems
	_, err := routes.Parse("routes.yaml", []byte("routes: [{name: a, retry: {max_atempts: 3}}]"), routes.Options{})
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Errorf("an invalid file: got %v, want four problems", err)
	}
	_, err = routes.Load([]string{t.TempDir() + "/none.yaml"}, routes.Options{})
	if err == nil || errors.As(err, &problems) {
		t.Errorf("a missing file: got %v, want an error that is not Problems", err)
	}
}

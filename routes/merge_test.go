package routes_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"relay/routes"
)

// Defaults are laid under a route: each case has them, what the route says, and what
// comes of both.
func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		name, defaults, route string
		got                   func(r routes.Route) any
		want                  any
	}{
		{"mappings merge", "retry: { max_attempts: 3, backoff: { initial: 2s } }", "retry: { backoff: { max: 1m } }",
			func(r routes.Route) any { return fmt.Sprint(r.Retry.MaxAttempts, r.Retry.Backoff) }, "3 {2s 2 1m0s 0.2}"},
		{"lists replace", "webhook: { forward_headers: [A, B] }", "webhook: { forward_headers: [C] }",
			func(r routes.Route) any { return fmt.Sprint(r.Webhook.ForwardHeaders) }, "[C]"},
		{"values replace", "concurrency: 3", "concurrency: 4", func(r routes.Route) any { return r.Concurrency }, 4},
		{"null resets a value", "concurrency: 3", "concurrency: null", func(r routes.Route) any { return r.Concurrency }, 16},
		{"null resets a mapping", "rate_limit: { per_second: 5 }", "rate_limit: ~", func(r routes.Route) any { return r.RateLimit }, routes.RateLimit{}},
		{"null resets one key", "webhook: { headers: { A: x, B: y } }", "webhook: { headers: { A: null } }",
			func(r routes.Route) any { return fmt.Sprint(r.Webhook.Headers) }, "map[B:y]"},
		{"schedule pushes out backoff", "retry: { backoff: { initial: 2s } }", "retry: { schedule: [5s] }",
			func(r routes.Route) any { return r.Retry.Delay(1, 0.5) }, 5 * time.Second},
		{"backoff pushes out schedule", "retry: { schedule: [5s] }", "retry: { backoff: { initial: 2s, jitter: 0 } }",
			func(r routes.Route) any { return r.Retry.Delay(1, 0.5) }, 2 * time.Second},
		{"one auth pushes out another", "webhook: { auth: { bearer: { env: TOKEN } } }", "webhook: { auth: { basic: { username: relay, password: { env: PASSWORD } } } }",
			func(r routes.Route) any {
				return r.Webhook.Auth.Bearer == nil && r.Webhook.Auth.Basic.Username == "relay"
			}, true},
		{"one secret pushes out another", "webhook: { auth: { bearer: { file: /token } } }", "webhook: { auth: { bearer: { env: TOKEN } } }",
			func(r routes.Route) any { return *r.Webhook.Auth.Bearer }, routes.Secret{Env: "TOKEN"}},
		{"headers named like keys stay", "webhook: { headers: { Env: a } }", "webhook: { headers: { File: b } }",
			func(r routes.Route) any { return len(r.Webhook.Headers) }, 2},
		{"a route's order makes its concurrency", "concurrency: 8", "order: strict", func(r routes.Route) any { return r.Concurrency }, 1},
		{"dead letters: file, defaults, route", "dead_letter: { max_age: 2d }", "dead_letter: { stream: SHOP_DLQ }",
			func(r routes.Route) any { return r.DeadLetter }, routes.DeadLetter{Stream: "SHOP_DLQ", SubjectPrefix: "dead", MaxAge: 48 * time.Hour, Retention: 90 * 24 * time.Hour}},
		{"what is required may be a default", "webhook: { timeout: 1s }", "description: x", func(r routes.Route) any { return r.Webhook.Timeout }, time.Second},
		{"burst follows the rate", "rate_limit: { per_second: 2.5 }", "description: x", func(r routes.Route) any { return r.RateLimit.Burst }, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := "dead_letter: { subject_prefix: dead, max_age: 1d }\n" +
				"defaults:\n  stream: ORDERS\n  filter_subjects: [orders.>]\n  " + c.defaults +
				"\nroutes:\n  - name: shop\n    " + c.route + "\n"
			if strings.Contains(c.route, "webhook: { ") {
				file = strings.Replace(file, "    webhook: { ", "    webhook: { url: \"https://example.com\", ", 1)
			} else {
				file += "    webhook: { url: \"https://example.com\" }\n"
			}
			config, err := routes.Parse("routes.yaml", []byte(file), testOptions())
			if err != nil {
				t.Fatalf("%v\n%s", err, file)
			}
			if got := c.got(config.Routes[0]); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

package dispatcher_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
	"relay/internal/webhook"
)

// A filter that a message's lists would keep busy for hours ends: the message is a dead
// letter that says why, it is counted, and the next one goes out.
func TestFilterIsBounded(t *testing.T) {
	numbers := "[" + strings.TrimSuffix(strings.Repeat("1,", 20_000), ",") + "]"
	const many = "more than 200000 times|longer than 2s" // whichever a busy machine reaches first
	for name, tt := range map[string]struct{ filter, body, want string }{
		"nested loops": {
			`count(body.a, let x = #; none(body.a, # == x + 1)) >= 0`,
			`{"a":` + numbers + `}`, many,
		},
		"loops within other functions": {
			`sum(map(body.a, let x = #; count(body.a, # == x))) >= 0`,
			`{"a":` + numbers + `}`, many,
		},
		"long rounds": {
			`all(body.a, not ("z" in body.b))`,
			`{"a":` + numbers + `,"b":[` + strings.TrimSuffix(strings.Repeat(`"y",`, 100_000), ",") + `]}`, "longer than 2s",
		},
		"memory":   {`len(map(1..900000, 1..900)) > 0`, `{}`, "memory budget"},
		"no value": {`body.a.b > 1`, `{"a":1}`, "cannot fetch"},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, nil)
			reg := prometheus.NewRegistry()
			c := config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: 1
    filter: 'headers["Hostile"] == "" or headers["Hostile"] == nil or %s'
    webhook: { url: "%s" }
`, tt.filter, r.URL)
			h.start(c, func(o *dispatcher.Options) { o.Registerer = reg })
			h.publish("orders.created", tt.body, "Hostile", "yes")
			h.publish("orders.created", "next")
			dead := h.awaitDead(1)[0]
			if dead.Reason != dlqstore.Poison || !regexp.MustCompile(tt.want).MatchString(dead.Error) || string(dead.Payload) != tt.body {
				t.Errorf("got reason %s, %q; want poison with %q and the payload as it was", dead.Reason, dead.Error, tt.want)
			}
			if got := r.Wait(t, 1); string(got[0].Body) != "next" {
				t.Errorf("the receiver got %q", got[0].Body)
			}
			if n := metric(t, reg, "relay_filter_errors_total"); n != 1 {
				t.Errorf("relay_filter_errors_total is %v, want 1", n)
			}
		})
	}
}

// What counts the rounds changes nothing in what an expression means.
func TestFilterMeansWhatItSays(t *testing.T) {
	const body = `{"items":[{"sku":"a1","n":2},{"sku":"b2","n":5}],"tags":["x","y"],"total":7}`
	for text, want := range map[string]bool{
		`any(body.items, .sku startsWith "b")`:                          true,
		`all(body.items, .n > 2)`:                                       false,
		`sum(body.items, .n) == body.total`:                             true,
		`count(body.tags, # in ["x", "z"]) == 1`:                        true,
		`filter(body.items, .n > 2)[0].sku == "b2"`:                     true,
		`len(groupBy(body.items, .sku)) == 2`:                           true,
		`sortBy(body.items, .n, "desc")[0].n == 5`:                      true,
		`reduce(body.items, #acc + .n, 0) == 7`:                         true,
		`findIndex(body.items, .sku == "b2") == 1`:                      true,
		`none(body.items, any(body.tags, # == "z"))`:                    true,
		`one(body.items, .n == 2) and subject == "s"`:                   true,
		`len(filter(body.items, .n > 9)) > 0 or not ("x" in body.tags)`: false,
	} {
		c := config(t, oneRoute, "http://127.0.0.1")
		c.Routes[0].Filter = text
		got, err := dispatcher.Wants(c.Routes[0], webhook.Message{Subject: "s", Body: []byte(body)})
		if err != nil || got != want {
			t.Errorf("%s: got %t, %v; want %t", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		`#round(1)`:                       "line 1, column 1 ",
		`any(body.items, #work == 1)`:     "line 1, column",
		`body.total > && 3`:               `unexpected token Operator("&&") at line 1, column 14 of the expression`,
		"subject == \"a\" and\nbody.a ==": "line 2, column",
		`body.total + 3`:                  "true or false, got the result of +",
		`3`:                               "expected bool, but got int",
	} {
		if err := dispatcher.CheckFilter(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", text, err, want)
		}
	}
}

package routes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// write puts files into a folder and returns its path.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func route(name, more string) string {
	return "routes:\n  - name: " + name + "\n    stream: ORDERS\n    filter_subjects: [orders." + name + "]\n    webhook: { url: \"https://example.com/" + name + "\" }\n" + more
}

func TestLoadPutsFilesTogether(t *testing.T) {
	dir := write(t, map[string]string{
		"10-shop.yaml":     route("shop", ""),
		"20-search.yml":    route("search", ""),
		"00-defaults.yaml": "defaults: { concurrency: 3 }\nstreams: [{ name: ORDERS, subjects: [orders.>] }]\n",
		".hidden.yaml":     "no: routes\n",
		"notes.txt":        "no routes\n",
	})
	if err := os.Mkdir(filepath.Join(dir, "old.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	extra := write(t, map[string]string{"extra.conf": route("extra", "")})
	c, err := routes.Load([]string{dir, filepath.Join(extra, "extra.conf"), "-"}, routes.Options{Stdin: strings.NewReader(route("stdin", ""))})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
		if r.Concurrency != 3 {
			t.Errorf("%s: got concurrency %d, want that of the defaults", r.Name, r.Concurrency)
		}
	}
	if want := []string{"shop", "search", "extra", "stdin"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestLoadNamesBothPlacesOfAClash(t *testing.T) {
	for _, c := range []struct{ name, a, b, want string }{
		{"route", route("shop", ""), route("shop", "    consumer: { durable: other }\n"), `b.yaml:2:11: routes[0] "shop": name: a route's name is its own, got "shop" again; the first is at DIR/a.yaml:2:11`},
		{"durable", route("shop", "    consumer: { durable: x }\n"), route("search", "    consumer: { durable: x }\n"), `b.yaml:6:26: routes[0] "search": consumer.durable: a consumer belongs to one route, got "x" on stream ORDERS again; the first is at DIR/a.yaml:6:26`},
		{"defaults", "defaults: { concurrency: 3 }\n", "defaults: { concurrency: 4 }\n" + route("shop", ""), `b.yaml:1:11: defaults: defaults stands in one file; it is also at DIR/a.yaml:1:11`},
		{"dead_letter", "dead_letter: { stream: A }\n", "dead_letter: { stream: B }\n" + route("shop", ""), `b.yaml:1:14: dead_letter: dead_letter stands in one file; it is also at DIR/a.yaml:1:14`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{"a.yaml": c.a, "b.yaml": c.b})
			_, err := routes.Load([]string{dir}, routes.Options{})
			got := strings.ReplaceAll(fmt.Sprint(err), dir, "DIR")
			if got != "DIR/"+c.want {
				t.Errorf("got  %s\nwant DIR/%s", got, c.want)
			}
		})
	}
}

// What could not be read is no Problems: whether it is valid is not known.
func TestLoadTellsInvalidFromUnreadable(t *testing.T) {
	dir := write(t, map[string]string{
		"bad.yaml":   "routes: [{name: a, retry: {max_atempts: 3}}]",
		"large.yaml": route("shop", "# "+strings.Repeat("x", 1<<20)),
	})
	for _, c := range []struct {
		name, path string
		problems   int
		want       string
	}{
		{"invalid", dir + "/bad.yaml", 4, "max_attempts"},
		{"too large", dir + "/large.yaml", 1, "large.yaml: a routes file has at most 1 MiB"},
		{"missing", dir + "/none.yaml", 0, "none.yaml: no such file or directory"},
		{"empty folder", t.TempDir(), 0, "holds no *.yaml and no *.yml"},
		{"file as folder", dir + "/bad.yaml/routes.yaml", 0, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := routes.Load([]string{c.path}, routes.Options{})
			var problems routes.Problems
			if errors.As(err, &problems); len(problems) != c.problems || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %d problems and %q", err, c.problems, c.want)
			}
		})
	}
	if _, err := routes.Load(nil, routes.Options{}); err == nil {
		t.Error("no path at all is no error")
	}
}

// Nothing is said about what a file that could not be read as YAML may have held.
func TestAFileWithASyntaxMistakeIsNotMissed(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": "routes: [\n", "b.yaml": "routes: [{ name: shop }]\n"})
	_, err := routes.Load([]string{dir}, routes.Options{})
	if problems, _ := errors.AsType[routes.Problems](err); len(problems) != 1 || problems[0].Code != "syntax" {
		t.Errorf("got %v, want the syntax mistake alone", err)
	}
}

// Files that are near to a mistake and hold none.
func TestWhatIsAllowed(t *testing.T) {
	queue := "streams: [{ name: ORDERS, subjects: [orders.>], retention: workqueue }]\n"
	twice := route("shop", "") + strings.TrimPrefix(strings.Replace(route("shop", ""), "name: shop", "name: other", 1), "routes:\n")
	for name, file := range map[string]string{
		"a disabled route takes nothing from a queue":       queue + twice + "    enabled: false\n",
		"a disabled first route takes nothing from a queue": queue + strings.Replace(twice, "    stream", "    enabled: false\n    stream", 1),
		"ranges side by side":                               route("shop", "    status: { 400-409: term, 410-420: nak, 4xx: nak, 404: ack }\n"),
		"ack_wait just above the timeout":                   route("shop", "    consumer: { ack_wait: 20001ms }\n"),
		"a private network that is allowed":                 strings.Replace(route("shop", ""), `url: "https://example.com/shop"`, `url: "http://10.1.2.3/", egress: { mode: strict, allow: [10.1.0.0/16] }`, 1),
		"IPv6 and a port":                                   strings.Replace(route("shop", ""), "https://example.com/shop", "HTTP://[::1]:8080?x=1", 1),
		"a host with a final dot and an underscore":         strings.Replace(route("shop", ""), "example.com", "my_app.svc.cluster.local.", 1),
		"a filter that begins with a wildcard":              strings.Replace(route("shop", ""), "[orders.shop]", "['*.shop', '*.*.shop']", 1),
		"everything in a stream":                            strings.Replace(route("shop", ""), "[orders.shop]", "['>']", 1),
		"null where a key is optional":                      "version: null\nstreams: null\ndefaults: ~\ndead_letter: null\n" + route("shop", "    retry: null\n    status: { 404: null }\n"),
		"a merge key gives way to a header":                 "x-headers: &headers { X-A: a, X-B: b }\n" + strings.Replace(route("shop", ""), "/shop\"", "/shop\", headers: { <<: *headers, X-A: c }", 1),
		"keys of its own":                                   "x-team: { anything: [1, two, { three: 4 }] }\n" + route("shop", ""),
		"a merge key gives way to the route's own":          "x-base: &base { stream: OTHER, concurrency: 4 }\n" + strings.Replace(route("shop", ""), "    stream: ORDERS", "    <<: *base\n    stream: ORDERS", 1),
	} {
		c, err := routes.Parse("routes.yaml", []byte(file), routes.Options{})
		if err != nil || len(c.Warnings) > 0 {
			t.Errorf("%s: got %v and %v", name, err, c)
			continue
		}
		if c.Routes[0].Stream != "ORDERS" {
			t.Errorf("%s: got stream %s", name, c.Routes[0].Stream)
		}
	}
}

func TestMarksAndLineBreaksOfOtherEditors(t *testing.T) {
	file := "\ufeff" + strings.ReplaceAll(route("shop", "    colour: red\n"), "\n", "\r\n")
	_, err := routes.Parse("routes.yaml", []byte(file), routes.Options{})
	if want := `routes.yaml:6:5: routes[0] "shop": colour: unknown key`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestManyMistakesAreToldAtOnceInFileOrder(t *testing.T) {
	file := "version: 2\n" + route("Shop", "    concurrency: 0\n    status: { 404: never }\n") + "colour: red\n"
	_, err := routes.Parse("routes.yaml", []byte(file), routes.Options{})
	var problems routes.Problems
	errors.As(err, &problems)
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Pos.Line)
	}
	if want := []int{1, 3, 7, 8, 9}; !slices.Equal(lines, want) {
		t.Errorf("got lines %v, want %v: %v", lines, want, err)
	}
}

// A route whose name is taken is looked at like any other: all mistakes come at once.
func TestMistakesOfARouteWhoseNameIsTaken(t *testing.T) {
	const one = "  - name: billing\n    stream: ORDERS\n    webhook: { url: \"https://billing.example.com/hooks\" }\n    filter_subjects: "
	_, err := routes.Parse("routes.yaml", []byte("routes:\n"+one+"[orders.created]\n"+one+"[orders.paid, orders.*]\n"), routes.Options{})
	var problems routes.Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Fatalf("got %v, want the name and the filters", err)
	}
}

// Who is told of a route's changes is reached by a route of relay's own, one for each
// receiver, which takes the events that name it.
func TestNotify(t *testing.T) {
	c, err := routes.Parse("routes.yaml", []byte(`
defaults:
  stream: ORDERS
  notify: { webhook: { url: https://alerts.example.com/hooks, timeout: 1m } }
routes:
  - { name: a, filter_subjects: [orders.a], webhook: { url: https://a.example.com/ }, consumer: { ack_wait: 2m } }
  - { name: b, filter_subjects: [orders.b], webhook: { url: https://b.example.com/ }, notify: { on: [recovered] } }
  - { name: c, filter_subjects: [orders.c], webhook: { url: https://c.example.com/ }, notify: { route: b } }
  - { name: relay-notify-2, filter_subjects: [orders.d], webhook: { url: https://d.example.com/ }, notify: null }
`), routes.Options{})
	if err != nil {
		t.Fatal(err)
	}
	via := map[string]string{"a": "relay-notify", "b": "relay-notify", "c": "relay-notify-3"}
	for _, r := range c.Routes[:3] {
		if r.Notify.Via != via[r.Name] || r.Notify.DeadLettersAbove != 100 {
			t.Errorf("route %s: got %+v, want it to go by %s above 100", r.Name, r.Notify, via[r.Name])
		}
	}
	if b := c.Routes[1].Notify; b.Wants(routes.BreakerOpen) || !b.Wants(routes.Recovered) || !c.Routes[0].Notify.Wants(routes.NewCause) {
		t.Error("on does not say what is wanted")
	}
	if c.Routes[3].Notify != nil {
		t.Errorf("null leaves out what defaults says, got %+v", c.Routes[3].Notify)
	}
	made := c.Routes[4:]
	if len(made) != 2 || made[0].Webhook.URL != "https://alerts.example.com/hooks" || made[1].Webhook.URL != "https://b.example.com/" {
		t.Fatalf("got %+v, want a route for each of two receivers", made)
	}
	for _, r := range made {
		if r.Stream != routes.EventsStream || r.Filter != `headers["Relay-Notify"] == "`+r.Name+`"` || r.Notify != nil ||
			r.Consumer.Durable != "relay-"+r.Name || r.Consumer.AckWait <= r.Webhook.Timeout {
			t.Errorf("got %+v", r)
		}
	}
}

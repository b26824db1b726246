package webhook_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

// sendTo sends the message and returns what the receiver got.
func sendTo(t *testing.T, change func(*routes.Route), m *webhook.Message) (webhook.Answer, http.Header) {
	t.Helper()
	url, got := receiver(t)
	r := route(url)
	if change != nil {
		change(&r)
	}
	answer := newSender(t, r).Send(context.Background(), m)
	if answer.Status != 200 {
		t.Fatalf("answer = %d, %v", answer.Status, answer.Err)
	}
	return answer, (<-got).header
}

func TestContentType(t *testing.T) {
	tests := []struct {
		name    string
		headers map[string][]string
		body    string
		want    string
	}{
		{"object", nil, `{"a": [1, 2]}`, "application/json"},
		{"array and space", nil, " [1]\n", "application/json"},
		{"number", nil, "17", "application/json"},
		{"string", nil, `"text"`, "application/json"},
		{"large object", nil, `{"a":"` + strings.Repeat("a", 100<<10) + `"}`, "application/json"},
		{"text", nil, "hello", "application/octet-stream"},
		{"looks like JSON", nil, "{hello}", "application/octet-stream"},
		{"cut off", nil, `{"a": 1`, "application/octet-stream"},
		{"nothing", nil, "", "application/octet-stream"},
		{"bytes", nil, "\x00\xff", "application/octet-stream"},
		{"own", map[string][]string{"Content-Type": {"text/plain; charset=utf-8"}}, "{}", "text/plain; charset=utf-8"},
		{"own in lower case", map[string][]string{"content-type": {"text/plain"}}, "{}", "text/plain"},
		{"own is no type", map[string][]string{"Content-Type": {"json"}}, "{}", "application/json"},
		{"own breaks the line", map[string][]string{"Content-Type": {"text/plain\r\nX: y"}}, "{}", "application/json"},
		{"own is empty", map[string][]string{"Content-Type": {}}, "{}", "application/json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := message()
			m.Headers, m.Body = tt.headers, []byte(tt.body)
			_, h := sendTo(t, nil, m)
			if got := h.Values("Content-Type"); len(got) != 1 || got[0] != tt.want {
				t.Errorf("Content-Type = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestForwardHeaders(t *testing.T) {
	m := message()
	m.Headers = map[string][]string{
		"Event-Type":        {"order"},
		"event-source":      {"shop", "web"},
		"Other":             {"kept back"},
		"X-Tenant":          {"from the message"},
		"X-Line":            {"a\r\nInjected: yes", "fine"},
		"X-Zero":            {"a\x00b"},
		"X Space":           {"a"},
		"X-Ünïcode":         {"a"},
		"X-Text":            {"naïve"},
		"X-Idempotency-Key": {"k"},
		// None of these is ever taken from a message.
		"webhook-id": {"forged"}, "Webhook-Signature": {"forged"}, "relay-attempt": {"99"}, "Host": {"evil.example"},
		"Connection": {"close"}, "Transfer-Encoding": {"chunked"}, "content-length": {"3"}, "Upgrade": {"h2c"},
		"Expect": {"100-continue"}, "Proxy-Authorization": {"x"}, "TE": {"trailers"}, "Keep-Alive": {"1"}, "Trailer": {"A"},
		"Accept-Encoding": {"gzip"}, "User-Agent": {"someone"}, "Authorization": {"Bearer forged"},
	}
	tests := []struct {
		name    string
		forward []string
		want    map[string]string // beside what is always sent
		dropped int
	}{
		{"nothing", nil, nil, 0},
		{"by name", []string{"event-type", "Missing"}, map[string]string{"Event-Type": "order"}, 0},
		{"by prefix", []string{"EVENT-*"}, map[string]string{"Event-Type": "order", "Event-Source": "shop|web"}, 0},
		{"everything", []string{"*"}, map[string]string{
			"Event-Type": "order", "Event-Source": "shop|web", "Other": "kept back", "X-Line": "fine",
			"X-Text": "naïve", "X-Idempotency-Key": "k",
		}, 4},
		{"reserved by name", []string{"webhook-id", "Host", "Connection", "Authorization", "relay-attempt"}, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plain := message()
			configure := func(r *routes.Route) {
				r.Webhook.ForwardHeaders = tt.forward
				r.Webhook.Headers = map[string]string{"X-Tenant": "acme"}
				r.Webhook.Auth.Bearer = &routes.Secret{Env: "TOKEN"}
			}
			_, always := sendTo(t, configure, plain)
			answer, got := sendTo(t, configure, m)
			if answer.DroppedHeaders != tt.dropped {
				t.Errorf("%d headers dropped, want %d", answer.DroppedHeaders, tt.dropped)
			}
			for name, value := range tt.want {
				if s := strings.Join(got.Values(name), "|"); s != value {
					t.Errorf("%s = %q, want %q", name, s, value)
				}
				got.Del(name)
			}
			for name, values := range got {
				same := strings.Join(values, "|") == strings.Join(always.Values(name), "|")
				if !same && name != "Webhook-Timestamp" && name != "Webhook-Signature" {
					t.Errorf("%s: %q was sent too", name, values)
				}
			}
		})
	}
}

func TestStaticHeaders(t *testing.T) {
	_, h := sendTo(t, func(r *routes.Route) {
		r.Webhook.Headers = map[string]string{"X-Tenant": "acme", "content-type": "application/vnd.acme+json", "User-Agent": "acme"}
	}, message())
	for name, want := range map[string]string{"X-Tenant": "acme", "Content-Type": "application/vnd.acme+json", "User-Agent": "acme"} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestReplayAndNames(t *testing.T) {
	m := message()
	m.Subject, m.Stream, m.ReplayOf, m.Attempt = `bestellung.größe."100%".новый`, "BESTELLUNGEN_Ä", "msg_old", 1
	_, h := sendTo(t, func(r *routes.Route) { r.Webhook.IdempotencyKey = true }, m)
	if got := h.Get(webhook.HeaderSubject); got != "bestellung.gr%C3%B6%C3%9Fe.%22100%25%22.%D0%BD%D0%BE%D0%B2%D1%8B%D0%B9" {
		t.Errorf("relay-subject = %q", got)
	}
	for name, want := range map[string]string{webhook.HeaderSubject: m.Subject, webhook.HeaderStream: m.Stream} {
		if got, err := url.PathUnescape(h.Get(name)); got != want || err != nil {
			t.Errorf("%s reads back as %q, %v; want %q", name, got, err, want)
		}
	}
	if got := h.Get(webhook.HeaderReplayOf); got != "msg_old" {
		t.Errorf("relay-replay-of = %q", got)
	}
	if got := h.Get("Idempotency-Key"); got != m.ID {
		t.Errorf("Idempotency-Key = %q, want the delivery's id", got)
	}
}

func TestTraceContext(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	tests := []struct{ name, parent, state, wantParent, wantState string }{
		{"both", good, "vendor=1", good, "vendor=1"},
		{"parent alone", good, "", good, ""},
		{"none", "", "vendor=1", "", ""},
		{"later version", "cc" + good[2:] + "-more", "", "cc" + good[2:] + "-more", ""},
		{"too long for version 00", good + "-more", "", "", ""},
		{"version ff", "ff" + good[2:], "", "", ""},
		{"upper case", strings.ToUpper(good), "", "", ""},
		{"no trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "", "", ""},
		{"no parent", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "", "", ""},
		{"short", good[:54], "", "", ""},
		{"other separators", strings.ReplaceAll(good, "-", "_"), "", "", ""},
		{"breaks the line", "cc" + good[2:] + "-\r\nX: y", "", "", ""},
		{"state too long", good, strings.Repeat("a", 513), good, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := message()
			m.Headers = map[string][]string{"Traceparent": {tt.parent}, "tracestate": {tt.state}}
			_, h := sendTo(t, func(r *routes.Route) { r.Webhook.ForwardHeaders = []string{"*"} }, m)
			if p, s := h.Get("traceparent"), h.Get("tracestate"); p != tt.wantParent || s != tt.wantState {
				t.Errorf("sent %q and %q, want %q and %q", p, s, tt.wantParent, tt.wantState)
			}
		})
	}
}

func TestCloudEvents(t *testing.T) {
	made := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": message().ID, "Ce-Source": "/streams/ORDERS", "Ce-Type": "orders.created",
		"Ce-Subject": "orders.created", "Ce-Time": "2026-01-02T03:04:05.0000006Z",
	}
	own := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/shop", "Ce-Type": "com.example.order",
		"Ce-Subject": "orders.created", "Ce-Time": made["Ce-Time"], "Ce-Tenant": "acme",
	}
	tests := []struct {
		name    string
		mode    routes.CloudEvents
		headers map[string][]string
		want    map[string]string
	}{
		{"off", routes.CloudEventsNone, map[string][]string{"ce-id": {"1"}}, nil},
		{"made of the delivery", routes.CloudEventsBinary, nil, made},
		{"the message's own", routes.CloudEventsBinary, map[string][]string{
			"ce-id": {"1"}, "ce-source": {"/shop"}, "ce-type": {"com.example.order"}, "Ce-Tenant": {"acme"}, "ce-bad": {"a\nb"},
		}, own},
		{"a whole event in the body", routes.CloudEventsBinary, map[string][]string{"Content-Type": {"application/cloudevents+json"}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := message()
			m.Headers = tt.headers
			_, h := sendTo(t, func(r *routes.Route) { r.Webhook.CloudEvents = tt.mode }, m)
			for name, want := range tt.want {
				if h.Get(name) != want {
					t.Errorf("%s = %q, want %q", name, h.Get(name), want)
				}
				h.Del(name)
			}
			for name := range h {
				if strings.HasPrefix(name, "Ce-") {
					t.Errorf("%s: %q was sent too", name, h[name])
				}
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	const longest = time.Duration(1<<63 - 1)
	tests := []struct {
		value   string
		d       time.Duration
		ok, bad bool
	}{
		{"", 0, false, false},
		{"  ", 0, false, false},
		{"0", 0, true, false},
		{"120", 2 * time.Minute, true, false},
		{" 7 ", 7 * time.Second, true, false},
		{"007", 7 * time.Second, true, false},
		{"9223372036", 9223372036 * time.Second, true, false},
		{"9223372037", longest, true, false},
		{"99999999999999999999999", longest, true, false},
		{"-1", 0, false, true},
		{"+1", 0, false, true},
		{"1.5", 0, false, true},
		{"1e3", 0, false, true},
		{"0x10", 0, false, true},
		{"120, 60", 0, false, true},
		{"soon", 0, false, true},
		{"١٢٠", 0, false, true},
		{"Wed, 01 Jul 2026 12:01:30 GMT", 90 * time.Second, true, false},
		{"Wednesday, 01-Jul-26 12:01:30 GMT", 90 * time.Second, true, false},
		{"Wed Jul  1 12:01:30 2026", 90 * time.Second, true, false},
		{"Wed, 01 Jul 2026 11:00:00 GMT", 0, true, false},
		{"Fri, 31 Dec 9999 23:59:59 GMT", longest, true, false},
		{"2026-07-01T12:01:30Z", 0, false, true},
		{"Wed, 31 Feb 2026 12:00:00 GMT", 0, false, true},
	}
	for _, tt := range tests {
		d, ok, bad := webhook.RetryAfter(http.Header{"Retry-After": {tt.value}}, now)
		if d != tt.d || ok != tt.ok || bad != tt.bad {
			t.Errorf("RetryAfter(%q) = %v, %v, %v; want %v, %v, %v", tt.value, d, ok, bad, tt.d, tt.ok, tt.bad)
		}
	}
	const at = "Wed, 01 Jul 2026 12:01:30 GMT"
	for date, want := range map[string]time.Duration{
		"Wed, 01 Jul 2026 12:01:20 GMT": 10 * time.Second, // the receiver's clock is 80 s ahead
		"Wed, 01 Jul 2026 12:02:00 GMT": 0,
		"now":                           90 * time.Second,
	} {
		if d, _, _ := webhook.RetryAfter(http.Header{"Retry-After": {at}, "Date": {date}}, now); d != want {
			t.Errorf("RetryAfter of an answer of %s = %v, want %v", date, d, want)
		}
	}
	if _, ok, bad := webhook.RetryAfter(nil, now); ok || bad {
		t.Error("no header at all counts")
	}
}

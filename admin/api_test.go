package admin_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/testkit"
)

func TestDeadLetterJSON(t *testing.T) {
	s := start(t, nil)
	record := dead(7, nil)
	s.project(dlqstore.Batch{
		DeadLetters: []dlqstore.Record{record},
		Attempts: []dlqstore.Attempt{
			{ID: record.ID, Route: record.Route, Number: 1, At: noon.Add(-2 * time.Hour), Error: "timeout_headers: no answer within 15s",
				Duration: 15_000_250 * time.Microsecond, Verdict: "nak"},
			{ID: record.ID, Route: record.Route, Number: 8, At: noon.Add(-time.Hour), Status: 503,
				Duration: 12_345 * time.Microsecond, Response: []byte("<b>busy</b>"), Verdict: "term"},
		},
	})
	got := s.get("/api/v1/dead-letters/" + record.ID)
	want := `{"id":"` + record.ID + `","route":"orders-to-billing","state":"dead","reason":"exhausted",` +
		`"original_subject":"orders.created","original_data":{"order":9007199254741000,"total":12.50},` +
		`"payload_base64":"eyJvcmRlciI6OTAwNzE5OTI1NDc0MTAwMCwidG90YWwiOjEyLjUwfQ==",` +
		`"headers":{"Content-Type":["application/json"],"Event-Type":["order"]},` +
		`"error":"the receiver answered 503","status":503,"error_class":"5xx","fingerprint":"398502b4b7d3f566","response":"<b>busy</b>","retry_count":8,` +
		`"consumer_name":"relay-orders-to-billing","stream":"ORDERS","stream_sequence":7,` +
		`"published_at":"2026-03-04T09:00:00Z","failed_at":"2026-03-04T11:00:07Z",` +
		`"attempts":[{"number":1,"at":"2026-03-04T10:00:00Z","status":0,"error":"timeout_headers: no answer within 15s","duration_ms":15000.25},` +
		`{"number":8,"at":"2026-03-04T11:00:00Z","status":503,"error":"","duration_ms":12.345}],"replay_of":""}` + "\n"
	if got.body != want {
		t.Errorf("got\n%s\nwant\n%s", got.body, want)
	}
	if got := got.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type: got %q", got)
	}
	list := s.get("/api/v1/dead-letters")
	if want := `{"dead_letters":[` + want + `],"next_cursor":""}` + "\n"; list.body != want {
		t.Errorf("in a list: got\n%s\nwant\n%s", list.body, want)
	}
}

func TestDeadLetterJSONOfForeignBytes(t *testing.T) {
	full := strings.Repeat("x", dlqstore.MaxResponseBytes-2) + "é"
	almost := strings.Repeat("x", dlqstore.MaxResponseBytes-1)
	tests := []struct {
		name            string
		payload         string
		response        string
		wantData        string // original_data; empty: absent
		wantResponse    string
		wantResponseRaw string // response_base64 decoded
	}{
		{name: "numbers keep their digits", payload: `[1e400000, 12345678901234567890.10]`, wantData: `[1e400000,12345678901234567890.10]`},
		{name: "markup is not escaped", payload: `"<script>"`, wantData: `"<script>"`},
		{name: "text", payload: "hello"},
		{name: "empty", payload: ""},
		{name: "JSON with a byte that is no UTF-8", payload: "\"\xff\""},
		{name: "two values", payload: "{} {}"},
		{name: "binary answer", payload: "1", wantData: "1", response: "\x00\xff", wantResponseRaw: "\x00\xff"},
		{name: "answer cut within a character", payload: "1", wantData: "1", response: almost + "\xc3", wantResponse: almost},
		{name: "answer cut after a character", payload: "1", wantData: "1", response: full, wantResponse: full},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			record := dead(1, func(d *dlqstore.DeadLetter) { d.Payload = []byte(test.payload) })
			s.project(dlqstore.Batch{DeadLetters: []dlqstore.Record{record}, Attempts: []dlqstore.Attempt{{
				ID: record.ID, Route: record.Route, Number: 8, At: noon, Status: 503, Response: []byte(test.response), Verdict: "nak",
			}}})
			var got struct {
				Data        json.RawMessage `json:"original_data"`
				Payload     *[]byte         `json:"payload_base64"`
				Response    string          `json:"response"`
				ResponseRaw []byte          `json:"response_base64"`
			}
			s.decode(s.get("/api/v1/dead-letters/"+record.ID), &got)
			if got.Payload == nil || string(*got.Payload) != test.payload {
				t.Errorf("payload_base64: got %q, want %q", got.Payload, test.payload)
			}
			if string(got.Data) != test.wantData {
				t.Errorf("original_data: got %s, want %s", got.Data, test.wantData)
			}
			if test.wantResponse != "" && got.Response != test.wantResponse {
				t.Errorf("response: got %d bytes, want %d", len(got.Response), len(test.wantResponse))
			}
			if string(got.ResponseRaw) != test.wantResponseRaw {
				t.Errorf("response_base64: got %q, want %q", got.ResponseRaw, test.wantResponseRaw)
			}
		})
	}
}

type listed struct {
	DeadLetters []struct {
		ID       string `json:"id"`
		Attempts any    `json:"attempts"`
	} `json:"dead_letters"`
	Next *string `json:"next_cursor"`
}

func (l listed) ids() []string {
	var ids []string
	for _, d := range l.DeadLetters {
		ids = append(ids, d.ID)
	}
	return ids
}

func TestListFilters(t *testing.T) {
	s := start(t, nil)
	ids := s.add(
		dead(0, nil),
		dead(1, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search"; d.OriginalSubject = "orders.eu.updated" }),
		dead(2, func(d *dlqstore.DeadLetter) { d.Reason, d.Status = dlqstore.Rejected, 422 }),
		dead(3, func(d *dlqstore.DeadLetter) { d.Payload = []byte("needle") }),
		dead(4, func(d *dlqstore.DeadLetter) { d.FailedAt = noon.Add(-50 * time.Hour) }),
		dead(5, nil),
	)
	if err := s.store.Discard(t.Context(), ids[5], "", dlqstore.Actor{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		query string
		want  []int // newest first
	}{
		{"", []int{5, 3, 2, 1, 0, 4}},
		{"route=orders-to-search", []int{1}},
		{"subject=orders.*.updated", []int{1}},
		{"subject=orders.>", []int{5, 3, 2, 1, 0, 4}},
		{"reason=rejected", []int{2}},
		{"status=422", []int{2}},
		{"state=discarded", []int{5}},
		{"q=needle", []int{3}},
		{"since=24h&state=dead", []int{3, 2, 1, 0}},
		{"until=2d", []int{4}},
		{"since=2026-03-04T11:00:02Z&until=2026-03-04T11:00:04Z", []int{3, 2}},
		{"until=2026-03-04", []int{4}},
		{"route=nobody", nil},
	}
	for _, test := range tests {
		t.Run(test.query, func(t *testing.T) {
			var got listed
			s.decode(s.get("/api/v1/dead-letters?"+test.query), &got)
			var want []string
			for _, i := range test.want {
				want = append(want, ids[i])
			}
			if !slices.Equal(got.ids(), want) || got.DeadLetters == nil {
				t.Errorf("got %v, want %v", got.ids(), want)
			}
			if got.Next == nil || *got.Next != "" {
				t.Errorf("next_cursor: got %v, want an empty one", got.Next)
			}
		})
	}
}

func TestListPages(t *testing.T) {
	s := start(t, nil)
	var want []string
	for i := range 7 {
		want = append(want, s.add(dead(i, nil))...)
	}
	slices.Reverse(want)
	var got []string
	cursor := ""
	for {
		var page listed
		s.decode(s.get("/api/v1/dead-letters?limit=3&cursor="+url.QueryEscape(cursor)), &page)
		if len(page.DeadLetters) > 3 {
			t.Fatalf("page of %d", len(page.DeadLetters))
		}
		got = append(got, page.ids()...)
		if page.Next == nil || *page.Next == "" {
			break
		}
		cursor = *page.Next
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPayload(t *testing.T) {
	tests := []struct {
		name            string
		payload         string
		header          map[string][]string
		wantContentType string
		wantExtension   string
	}{
		{"JSON", `{"a": 1}`, map[string][]string{"content-type": {"application/json; charset=utf-8"}}, "application/json", ".json"},
		{"CloudEvent", `{}`, map[string][]string{"Content-Type": {"application/cloudevents+json"}}, "application/cloudevents+json", ".json"},
		{"page", "<script>alert(1)</script>", map[string][]string{"Content-Type": {"text/html"}}, "application/octet-stream", ".bin"},
		{"picture", "<svg/>", map[string][]string{"Content-Type": {"image/svg+xml"}}, "application/octet-stream", ".bin"},
		{"rubbish type", "x", map[string][]string{"Content-Type": {"a\r\nb"}}, "application/octet-stream", ".bin"},
		{"every byte", "\x00\r\n\xff\xfe", nil, "application/octet-stream", ".bin"},
		{"nothing", "", nil, "application/octet-stream", ".bin"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(1, func(d *dlqstore.DeadLetter) { d.Payload, d.Headers = []byte(test.payload), test.header }))[0]
			got := s.get("/api/v1/dead-letters/" + id + "/payload")
			if got.body != test.payload {
				t.Errorf("got %q, want %q", got.body, test.payload)
			}
			for name, want := range map[string]string{
				"Content-Type":           test.wantContentType,
				"Content-Disposition":    "attachment; filename=" + id + test.wantExtension,
				"X-Content-Type-Options": "nosniff",
				"Cache-Control":          "no-store",
			} {
				if got := got.header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestReplay(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	first := s.post("/api/v1/dead-letters/"+id+"/replay", "{}")
	if want := `{"id":"` + id + `","state":"replaying"}` + "\n"; first.status != http.StatusAccepted || first.body != want {
		t.Fatalf("got %d %s", first.status, first.body)
	}
	if s.state(id) != dlqstore.Replaying || s.wakes.count() != 1 {
		t.Errorf("state %s, %d wakes", s.state(id), s.wakes.count())
	}
	second := s.post("/api/v1/dead-letters/"+id+"/replay", "")
	if code := s.code(second); second.status != http.StatusConflict || code != "state_conflict" {
		t.Errorf("second replay: got %d %s", second.status, code)
	}
	for _, want := range []string{"replaying", "anonymous", "UTC"} {
		if !strings.Contains(second.body, want) {
			t.Errorf("the second is not told %q: %s", want, second.body)
		}
	}
	if pending, err := s.store.PendingReplays(t.Context(), 10); err != nil || len(pending) != 1 {
		t.Errorf("pending replays: got %d (%v), want 1", len(pending), err)
	}
}

func TestEditedReplay(t *testing.T) {
	tests := []struct {
		name        string
		body        string
		wantPayload string
		wantHeader  string // of X
	}{
		{"payload", `{"payload_base64":"Zml4ZWQ="}`, "fixed", "old"},
		{"empty payload", `{"payload_base64":""}`, "", "old"},
		{"headers", `{"headers":{"X":"new"},"to":"route"}`, "broken", "new"},
		{"both", `{"payload_base64":"Zml4ZWQ=","headers":{"X":["new"]}}`, "fixed", "new"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(1, func(d *dlqstore.DeadLetter) {
				d.Payload, d.Headers = []byte("broken"), map[string][]string{"X": {"old"}}
			}))[0]
			got := s.post("/api/v1/dead-letters/"+id+"/replay", test.body)
			var started struct{ ID, State string }
			s.decode(got, &started)
			if got.status != http.StatusAccepted || started.ID == id || started.State != "replaying" {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			d, err := s.store.Get(t.Context(), started.ID)
			if err != nil {
				t.Fatal(err)
			}
			if string(d.Payload) != test.wantPayload || !slices.Equal(d.Headers["X"], []string{test.wantHeader}) || d.ReplayOf != id {
				t.Errorf("got payload %q, headers %v, replay of %q", d.Payload, d.Headers, d.ReplayOf)
			}
		})
	}
}

func TestDiscardAndRestore(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	steps := []struct {
		action, body string
		wantStatus   int
		wantState    dlqstore.State
	}{
		{"restore", "{}", http.StatusConflict, dlqstore.Dead},
		{"discard", `{"reason":"test traffic"}`, http.StatusOK, dlqstore.Discarded},
		{"discard", "", http.StatusConflict, dlqstore.Discarded},
		{"replay", "{}", http.StatusConflict, dlqstore.Discarded},
		{"restore", "", http.StatusOK, dlqstore.Dead},
	}
	for _, step := range steps {
		got := s.post("/api/v1/dead-letters/"+id+"/"+step.action, step.body)
		if got.status != step.wantStatus || s.state(id) != step.wantState {
			t.Fatalf("%s: got %d, state %s: %s", step.action, got.status, s.state(id), got.body)
		}
	}
}

// republisher remembers what it was to send.
type republisher struct {
	sent []dlqstore.DeadLetter
	err  error
}

func (r *republisher) Republish(_ context.Context, d dlqstore.DeadLetter) error {
	if r.err == nil {
		r.sent = append(r.sent, d)
	}
	return r.err
}

func TestReplayToSubject(t *testing.T) {
	to := &republisher{}
	s := start(t, func(o *admin.Options) { o.Republish = to })
	id := s.add(dead(1, nil))[0]
	path := "/api/v1/dead-letters/" + id + "/replay"

	to.err = errors.New("no stream")
	if got := s.post(path, `{"to":"subject"}`); got.status != http.StatusServiceUnavailable || s.code(got) != "publish_failed" || s.state(id) != dlqstore.Dead {
		t.Errorf("publish fails: got %d %s, state %s", got.status, got.body, s.state(id))
	}
	to.err = nil
	if got := s.post(path, `{"to":"subject","payload_base64":"Zml4ZWQ="}`); got.status != http.StatusAccepted {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	if len(to.sent) != 1 || string(to.sent[0].Payload) != "fixed" || to.sent[0].OriginalSubject != "orders.created" {
		t.Errorf("sent %+v", to.sent)
	}
	if got := s.post(path, `{"to":"subject"}`); got.status != http.StatusConflict || len(to.sent) != 1 {
		t.Errorf("second: got %d, %d sent", got.status, len(to.sent))
	}
	d, err := s.store.Get(t.Context(), id)
	if after := fmt.Sprintf("%x", sha256.Sum256([]byte("fixed"))); err != nil || !strings.Contains(d.DiscardReason, after) {
		t.Errorf("the edit is not told: %q (%v)", d.DiscardReason, err)
	}

	without := start(t, nil)
	id = without.add(dead(1, nil))[0]
	if got := without.post("/api/v1/dead-letters/"+id+"/replay", `{"to":"subject"}`); got.status != http.StatusNotImplemented ||
		without.state(id) != dlqstore.Dead {
		t.Errorf("without a republisher: got %d, state %s", got.status, without.state(id))
	}
}

func TestBadRequests(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	const none = "msg_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	replay := "/api/v1/dead-letters/" + id + "/replay"
	tests := []struct {
		name, method, path, body string
		wantStatus               int
		wantCode, wantText       string
	}{
		{"unknown path", "GET", "/api/v1/nothing", "", 404, "not_found", ""},
		{"unknown version", "GET", "/api/v2/routes", "", 404, "not_found", ""},
		{"wrong method", "DELETE", "/api/v1/dead-letters/" + id, "", 405, "method_not_allowed", "GET"},
		{"get of an action", "GET", replay, "", 405, "method_not_allowed", "POST"},
		{"unknown method", "BREW", "/api/v1/routes", "", 405, "method_not_allowed", ""},
		{"no such dead letter", "GET", "/api/v1/dead-letters/" + none, "", 404, "not_found", ""},
		{"no such payload", "GET", "/api/v1/dead-letters/" + none + "/payload", "", 404, "not_found", ""},
		{"no such replay", "POST", "/api/v1/dead-letters/" + none + "/replay", "", 404, "not_found", ""},
		{"no such discard", "POST", "/api/v1/dead-letters/" + none + "/discard", "", 404, "not_found", ""},
		{"no such restore", "POST", "/api/v1/dead-letters/" + none + "/restore", "", 404, "not_found", ""},
		{"no id", "GET", "/api/v1/dead-letters/%00", "", 404, "not_found", ""},
		{"no such route", "GET", "/api/v1/routes/nobody", "", 404, "not_found", "nobody"},
		{"no such pause", "POST", "/api/v1/routes/nobody/pause", "", 404, "not_found", "nobody"},
		{"unknown parameter", "GET", "/api/v1/dead-letters?stat=dead", "", 400, "invalid_parameter", `"stat"`},
		{"doubled parameter", "GET", "/api/v1/dead-letters?route=a&route=b", "", 400, "invalid_parameter", "route"},
		{"unknown reason", "GET", "/api/v1/dead-letters?reason=bored", "", 400, "invalid_parameter", "exhausted"},
		{"unknown state", "GET", "/api/v1/dead-letters?state=alive", "", 400, "invalid_parameter", "discarded"},
		{"status no number", "GET", "/api/v1/dead-letters?status=5xx", "", 400, "invalid_parameter", "5xx"},
		{"limit too high", "GET", "/api/v1/dead-letters?limit=501", "", 400, "invalid_parameter", "500"},
		{"bad time", "GET", "/api/v1/dead-letters?since=yesterday", "", 400, "invalid_parameter", "24h"},
		{"negative age", "GET", "/api/v1/dead-letters?since=-5m", "", 400, "invalid_parameter", "since"},
		{"a time that no database knows", "GET", "/api/v1/dead-letters?since=0000-01-01", "", 400, "invalid_parameter", "1970"},
		{"a time that means none", "GET", "/api/v1/dead-letters?until=0001-01-01T00:00:00Z", "", 400, "invalid_parameter", "1970"},
		{"a year of five digits", "GET", "/api/v1/audit?until=9999-12-31T23:59:59-01:00", "", 400, "invalid_parameter", "9999"},
		{"cursor of the year 0", "GET", "/api/v1/dead-letters?cursor=MDAwMC0wMS0wMVQwMDowMDowMC4wMDAwMDBabXNn", "", 400, "invalid_parameter", "cursor"},
		{"bad subject", "GET", "/api/v1/dead-letters?subject=a..b", "", 400, "invalid_parameter", "subject"},
		{"bad wildcard", "GET", "/api/v1/dead-letters?subject=%3E.b", "", 400, "invalid_parameter", "subject"},
		{"NUL", "GET", "/api/v1/dead-letters?q=%00", "", 400, "invalid_parameter", "NUL"},
		{"no UTF-8", "GET", "/api/v1/dead-letters?route=%ff", "", 400, "invalid_parameter", "UTF-8"},
		{"long text", "GET", "/api/v1/dead-letters?q=" + strings.Repeat("x", 600), "", 400, "invalid_parameter", "512"},
		{"bad escape", "GET", "/api/v1/dead-letters?q=%zz", "", 400, "invalid_parameter", ""},
		{"bad cursor", "GET", "/api/v1/dead-letters?cursor=rubbish", "", 400, "invalid_parameter", "cursor"},
		{"unknown field", "POST", replay, `{"payload":"x"}`, 400, "invalid_body", `"payload"`},
		{"no JSON", "POST", replay, `{`, 400, "invalid_body", ""},
		{"no object", "POST", replay, `[]`, 400, "invalid_body", "array"},
		{"two values", "POST", replay, `{} {}`, 400, "invalid_body", "more than one"},
		{"bad base64", "POST", replay, `{"payload_base64":"%%%"}`, 400, "invalid_body", "base64"},
		{"wrong type", "POST", replay, `{"to":5}`, 400, "invalid_body", "to"},
		{"unknown target", "POST", replay, `{"to":"moon"}`, 400, "invalid_body", "moon"},
		{"header without value", "POST", replay, `{"headers":{"X":null}}`, 400, "invalid_body", "X"},
		{"long body", "POST", "/api/v1/dead-letters/" + id + "/discard", `{"reason":"` + strings.Repeat("x", 70_000) + `"}`, 413, "body_too_large", "65536"},
		{"long reason", "POST", "/api/v1/dead-letters/" + id + "/discard", `{"reason":"` + strings.Repeat("x", 600) + `"}`, 400, "invalid_parameter", "reason"},
		{"field of an empty body", "POST", "/api/v1/dead-letters/" + id + "/restore", `{"reason":"x"}`, 400, "invalid_body", "reason"},
		{"reload without a way", "POST", "/api/v1/reload", "", 501, "not_supported", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := s.do(test.method, test.path, test.body, nil)
			if got.status != test.wantStatus || s.code(got) != test.wantCode {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, test.wantStatus, test.wantCode)
			}
			var body struct{ Error struct{ Message string } }
			s.decode(got, &body)
			if !strings.Contains(body.Error.Message, test.wantText) {
				t.Errorf("message %q does not speak of %q", body.Error.Message, test.wantText)
			}
			for _, name := range []string{"admin.", "dlqstore", "json:", "struct", "Go "} {
				if strings.Contains(body.Error.Message, name) {
					t.Errorf("message %q speaks of the program's inside", body.Error.Message)
				}
			}
		})
	}
	if s.state(id) != dlqstore.Dead {
		t.Errorf("a bad request changed the state to %s", s.state(id))
	}
}

func TestRoutes(t *testing.T) {
	s := start(t, nil)
	all := s.get("/api/v1/routes")
	var list struct {
		Routes []map[string]any `json:"routes"`
	}
	s.decode(all, &list)
	if len(list.Routes) != 3 || list.Routes[0]["num_pending"] != 1204.0 || list.Routes[2]["state"] != "disabled" {
		t.Errorf("got %s", all.body)
	}
	one := s.get("/api/v1/routes/orders-to-billing")
	var route map[string]any
	s.decode(one, &route)
	if route["url"] != "https://billing.example.com/hooks/orders" {
		t.Errorf("url: got %v", route["url"])
	}
	for _, a := range []answer{all, one, s.get("/"), s.get("/routes/orders-to-billing")} {
		if strings.Contains(a.body, "hunter2") || strings.Contains(a.body, "BILLING_TOKEN") {
			t.Errorf("a secret shows:\n%s", a.body)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	s := start(t, nil)
	for _, step := range []struct{ action, want string }{{"pause", "paused"}, {"resume", "running"}} {
		got := s.post("/api/v1/routes/orders-to-billing/"+step.action, "")
		var route struct{ State string }
		s.decode(got, &route)
		if got.status != http.StatusOK || route.State != step.want {
			t.Errorf("%s: got %d %s", step.action, got.status, got.body)
		}
	}
	s.runtime.broken = errors.New("no answer from NATS")
	got := s.post("/api/v1/routes/orders-to-billing/pause", "")
	if got.status != http.StatusServiceUnavailable || s.code(got) != "route_unavailable" || !strings.Contains(got.body, "no answer from NATS") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestReload(t *testing.T) {
	var refuse error
	s := start(t, func(o *admin.Options) { o.Reload = func(context.Context) error { return refuse } })
	if got := s.post("/api/v1/reload", ""); got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}
	refuse = errors.New("routes.yaml:3:1: unknown key")
	got := s.post("/api/v1/reload", "")
	if got.status != http.StatusUnprocessableEntity || s.code(got) != "reload_refused" || !strings.Contains(got.body, "routes.yaml:3:1") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestDatabaseDown(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	s.store.Close()
	for _, request := range []struct{ method, path string }{
		{"GET", "/api/v1/dead-letters"}, {"GET", "/api/v1/dead-letters/" + id}, {"GET", "/api/v1/dead-letters/" + id + "/payload"},
		{"POST", "/api/v1/dead-letters/" + id + "/replay"}, {"POST", "/api/v1/dead-letters/" + id + "/discard"},
	} {
		got := s.do(request.method, request.path, "", nil)
		if got.status != http.StatusServiceUnavailable || s.code(got) != "database_unavailable" {
			t.Errorf("%s %s: got %d %s", request.method, request.path, got.status, got.body)
		}
	}
	if got := s.get("/api/v1/dead-letters/rubbish"); got.status != http.StatusNotFound {
		t.Errorf("the database was asked for what cannot be an id: got %d", got.status)
	}
	if got := s.get("/dead-letters"); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "database does not answer") {
		t.Errorf("page: got %d %s", got.status, got.body)
	}
	if got := s.get("/"); got.status != http.StatusOK || !strings.Contains(got.body, "Unreachable") {
		t.Errorf("the overview does not stand without a database: %d", got.status)
	}
	if got := s.get("/routes/orders-to-billing"); got.status != http.StatusOK {
		t.Errorf("a route's page does not stand without a database: %d", got.status)
	}
}

// TestPostgresStopsAndComesBack takes the database away under the surface.
func TestPostgresStopsAndComesBack(t *testing.T) {
	postgres := testkit.PostgresServer(t)
	u, err := url.Parse(postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	secret, ok := u.User.Password()
	if !ok || len(secret) < 8 {
		t.Fatalf("a password that would show is wanted in %s", u.Redacted())
	}
	s := startOn(t, postgres.URL, nil)
	id := s.add(dead(1, nil))[0]
	if err := postgres.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/readyz", "/api/v1/dead-letters", "/dead-letters/" + id} {
		if got := s.get(path); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, secret) {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
	}
	if got := s.get("/"); got.status != http.StatusOK || !strings.Contains(got.body, "Unreachable") {
		t.Errorf("overview: got %d", got.status)
	}
	if err := postgres.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return s.get("/readyz").status == http.StatusOK }, "the surface sees that Postgres is back")
	if got := s.post("/api/v1/dead-letters/"+id+"/replay", ""); got.status != http.StatusAccepted {
		t.Errorf("replay after it: got %d %s", got.status, got.body)
	}
}

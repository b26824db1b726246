package admin_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"relay/admin"
	"relay/dlqstore"
)

// has fails the test unless the page holds each text.
func (s *surface) has(a answer, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			s.t.Errorf("page %d does not say %q:\n%s", a.status, text, a.body)
		}
	}
}

func TestOverviewPage(t *testing.T) {
	s := start(t, func(o *admin.Options) {
		o.Config = func() admin.ConfigStatus {
			return admin.ConfigStatus{LoadedAt: noon.Add(-3e12), Error: "routes.yaml:3:1: unknown key", FailedAt: noon.Add(-6e10)}
		}
	})
	s.add(dead(1, nil), dead(2, nil))
	page := s.get("/")
	s.has(page, "orders-to-billing", "Running", "Breaker open", "Disabled", "1,204", "orders.*.updated",
		`href="/dead-letters?route=orders-to-billing">2</a>`, "Connected", "Reachable", "Last reload refused", "routes.yaml:3:1", "503 Service Unavailable",
		"42/s", "98.7 %", "31 ms / 210 ms", "oldest <time", "2 processes", "relay-2, started 3 h ago, 1.2.2", "17 events on the way", "2 failed by hour")

	other := s.add(dead(3, func(d *dlqstore.DeadLetter) {
		d.Route, d.Status, d.Error = "orders-to-search", 0, "refused: dial tcp 10.1.4.7:443"
	}))[0]
	page = s.get("/")
	s.has(page, "by cause", "503 Service Unavailable</bdi>", "refused: dial tcp", `href="/dead-letters/`+other+`"`, `<p class="figure bad">3</p>`)
	if strings.Index(page.body, "503 Service Unavailable</bdi>") > strings.Index(page.body, "refused: dial tcp") {
		t.Error("the most frequent cause is not the first")
	}
	group := regexp.MustCompile(`/dead-letters\?fingerprint=[^"]+orders-to-search`).FindString(page.body)
	s.has(s.get(strings.ReplaceAll(group, "&amp;", "&")), "1 dead letter match, of one cause", other, `name="fingerprint"`)

	s.runtime.routes = nil
	s.has(s.get("/"), "The routes file has no routes")
}

// TestCausesOfOneStatus: what the status does not tell apart, the error does.
func TestCausesOfOneStatus(t *testing.T) {
	s := start(t, nil)
	why := func(text string) func(*dlqstore.DeadLetter) { return func(d *dlqstore.DeadLetter) { d.Error = text } }
	s.add(dead(1, why("the receiver answered 503: disk full")))
	if got := s.get("/"); strings.Contains(got.body, "disk full") {
		t.Errorf("one cause needs no more than its status:\n%s", got.body)
	}
	s.add(dead(2, why("the receiver answered 503: maintenance")))
	s.has(s.get("/"), "disk full", "maintenance")
}

func TestRoutePage(t *testing.T) {
	s := start(t, nil)
	s.has(s.get("/routes/orders-to-billing"), "https://billing.example.com/hooks/orders", "at most 8, within 24h", "bearer token",
		"1s, times 2 each, at most 10m", "1 secret", "42/s", "98.7 %", "31 ms / 210 ms", "stored <time", "no answer: <strong>18,200</strong>",
		`class="bad" d="M210.00`, "timeout_headers: no answer", "200 OK", "full height: 2,222 a minute", "relay-2")
	s.has(s.get("/routes/orders-to-search"), "Without those of 1 process")
	if got := s.get("/routes/nobody"); got.status != http.StatusNotFound {
		t.Errorf("unknown route: got %d", got.status)
	}
	got := s.form("/routes/orders-to-billing/pause", "")
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/routes/orders-to-billing?about=&done=paused" {
		t.Fatalf("got %d to %q", got.status, got.header.Get("Location"))
	}
	s.has(s.get(got.header.Get("Location")), "Nothing is delivered on this route until you resume it", "/routes/orders-to-billing/resume")
	s.form("/routes/orders-to-billing/resume", "")
	s.has(s.get("/routes/orders-to-billing"), "Running", "/routes/orders-to-billing/pause")
}

func TestDeadLettersPage(t *testing.T) {
	s := start(t, nil)
	s.has(s.get("/dead-letters"), "No dead letters wait for you")
	for i := range 60 {
		s.add(dead(i, nil))
	}
	id := s.add(dead(100, func(d *dlqstore.DeadLetter) {
		d.Reason, d.Status, d.OriginalSubject = dlqstore.Rejected, 422, "orders.odd"
	}))[0]

	first := s.get("/dead-letters")
	s.has(first, "61 dead letters", "orders.odd", "422 Unprocessable Entity", "Older")
	older := regexp.MustCompile(`href="(/dead-letters\?cursor=[^"]+)"`).FindStringSubmatch(first.body)
	if older == nil {
		t.Fatalf("no way to the next page in\n%s", first.body)
	}
	second := s.get(strings.ReplaceAll(older[1], "&amp;", "&"))
	if n := strings.Count(second.body, "/replay\""); n != 11 {
		t.Errorf("second page: %d rows, want 11", n)
	}
	s.has(second, `href="/dead-letters"`, "Newest")

	one := s.get("/dead-letters?subject=orders.odd&reason=rejected&status=422&route=orders-to-billing&q=503&since=24h")
	s.has(one, "1 dead letter match", id, "Clear", `value="orders.odd"`, `<option value="rejected" selected>`)
	s.has(s.get("/dead-letters?route=gone"), "No dead letter matches this filter", `<option value="gone" selected>`)
	s.has(s.get("/dead-letters?state=delivered"), "None in this state")
	if wrong := s.get("/dead-letters?status=abc&subject=a.%3E"); wrong.status != http.StatusBadRequest {
		t.Errorf("wrong filter: got %d", wrong.status)
	} else {
		s.has(wrong, "Status: a number from 100 to 999 wanted", `value="abc"`, `value="a.&gt;"`)
	}
}

func TestActionsOnPages(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(1, nil), dead(2, nil))
	list := "/dead-letters?route=orders-to-billing"

	got := s.form("/dead-letters/"+ids[0]+"/replay", url.Values{"back": {list}}.Encode())
	if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/dead-letters?") || s.wakes.count() != 1 {
		t.Fatalf("got %d to %q, %d wakes", got.status, got.header.Get("Location"), s.wakes.count())
	}
	page := s.get(got.header.Get("Location"))
	s.has(page, "Replay started", `href="/dead-letters/`+ids[0]+`"`, `<option value="orders-to-billing" selected>`)
	if strings.Contains(page.body, "done=") {
		t.Error("the forms of the page would tell of the action again")
	}
	s.has(s.get("/dead-letters/"+ids[0]), "Replaying", "A replay is under way", "Look again")

	again := s.form("/dead-letters/"+ids[0]+"/replay", url.Values{"back": {list}}.Encode())
	if again.status != http.StatusConflict {
		t.Errorf("second replay: got %d", again.status)
	}
	s.has(again, "That was not done", "is replaying since", "by anonymous", `href="/dead-letters?route=orders-to-billing"`)

	got = s.form("/dead-letters/"+ids[1]+"/discard", "reason=test+traffic")
	s.has(s.get(got.header.Get("Location")), "Discarded. It can be restored.", "test traffic", "/restore")
	got = s.form("/dead-letters/"+ids[1]+"/restore", "")
	s.has(s.get(got.header.Get("Location")), "It is open again", "/replay")
}

func TestReplaysPage(t *testing.T) {
	s := start(t, nil)
	s.has(s.get("/replays"), "Nothing has been replayed in bulk")
	s.add(dead(1, nil), dead(2, nil), dead(3, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }))
	s.has(s.get("/dead-letters?route=orders-to-billing"), `<option value="all">all that match (2)</option>`, `name="route" value="orders-to-billing"`)

	ask := s.get("/replays/new?route=orders-to-billing&since=24h")
	s.has(ask, "Replay 2", `name="since" value="2026-03-03T12:00:00Z"`, `name="rate" value="50"`, "orders.created")
	wrong := s.form("/replays", "route=orders-to-billing&rate=fast&limit=7")
	if wrong.status != http.StatusBadRequest {
		t.Errorf("wrong rate: got %d", wrong.status)
	}
	s.has(wrong, `Rate: a number wanted, got &#34;fast&#34;.`, `value="fast"`, `value="7"`, `name="route" value="orders-to-billing"`)

	got := s.form("/replays", "route=orders-to-billing&rate=50&stop_after=20&ramp=on")
	jobs, err := s.store.Jobs(t.Context(), 9)
	if err != nil || len(jobs) != 1 || s.wakes.count() != 1 {
		t.Fatalf("got %d, %d jobs (%v), %d wakes", got.status, len(jobs), err, s.wakes.count())
	}
	job := jobs[0]
	if want := "/replays?about=" + job.ID + "&done=job-started"; got.header.Get("Location") != want || job.Total != 2 || !job.Spec.Ramp {
		t.Errorf("sent to %q, want %q; %+v", got.header.Get("Location"), want, job)
	}
	s.has(s.get(got.header.Get("Location")), "Started.", "route orders-to-billing", "0 of 2", "50 a second, ramped up, pauses after 20 new failures",
		"by <bdi>anonymous", `class="marked"`)
	for _, step := range []struct {
		action string
		want   dlqstore.JobState
	}{{"pause", dlqstore.JobPaused}, {"resume", dlqstore.JobRunning}, {"cancel", dlqstore.JobCancelled}} {
		got := s.form("/replays/"+job.ID+"/"+step.action, "")
		after, err := s.store.Job(t.Context(), job.ID)
		if got.status != http.StatusSeeOther || err != nil || after.State != step.want {
			t.Errorf("%s: got %d, %s (%v)", step.action, got.status, after.State, err)
		}
	}
	s.has(s.form("/replays/"+job.ID+"/resume", ""), "That was not done", `href="/replays"`)
}

func TestBackGoesNowhereElse(t *testing.T) {
	for _, back := range []string{"https://evil.example.com/dead-letters", "//evil.example.com/dead-letters", "/\\evil.example.com", "/routes/x",
		"javascript:alert(1)", "http:/dead-letters", "/dead-letters/../x", "\x00", "dead-letters"} {
		s := start(t, nil)
		id := s.add(dead(1, nil))[0]
		got := s.form("/dead-letters/"+id+"/replay", url.Values{"back": {back}}.Encode())
		if want := "/dead-letters/" + id + "?about=" + id + "&done=replaying"; got.header.Get("Location") != want {
			t.Errorf("%q: sent to %q, want %q", back, got.header.Get("Location"), want)
		}
	}
}

func TestStory(t *testing.T) {
	tests := []struct {
		name   string
		change func(*dlqstore.DeadLetter)
		want   string
	}{
		{"exhausted", nil, "Relay stopped after 8 attempts, as many as the route allows; the last one was answered with 503 Service Unavailable."},
		{"no answer", func(d *dlqstore.DeadLetter) { d.Status = 0 }, "the last one got no answer."},
		{"expired", func(d *dlqstore.DeadLetter) { d.Reason, d.RetryCount = dlqstore.Expired, 1 }, "Relay stopped after 1 attempt, because the message had grown older"},
		{"rejected", func(d *dlqstore.DeadLetter) { d.Reason, d.Status, d.RetryCount = dlqstore.Rejected, 410, 1 }, "The receiver answered the first attempt with 410 Gone"},
		{"aborted", func(d *dlqstore.DeadLetter) { d.Reason, d.Status = dlqstore.Aborted, 599 }, "answered attempt 8 with 599 and asked not to be sent"},
		{"oversize", func(d *dlqstore.DeadLetter) { d.Reason = dlqstore.Oversize }, "too large"},
		{"poison", func(d *dlqstore.DeadLetter) { d.Reason = dlqstore.Poison }, "put it aside"},
		{"blocked", func(d *dlqstore.DeadLetter) { d.Reason = dlqstore.Blocked }, "forbids"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(1, test.change))[0]
			s.has(s.get("/dead-letters/"+id), test.want)
		})
	}
}

func TestTimeline(t *testing.T) {
	s := start(t, nil)
	record := dead(1, nil)
	attempt := func(replay, number, status int, text, verdict string) dlqstore.Attempt {
		return dlqstore.Attempt{ID: record.ID, Route: record.Route, Replay: replay, Number: number, Status: status, Error: text,
			At: noon.Add(-1e12), Duration: 15e9, Response: []byte("busy"), Verdict: verdict}
	}
	s.project(dlqstore.Batch{DeadLetters: []dlqstore.Record{record}, Attempts: []dlqstore.Attempt{
		attempt(0, 1, 0, "refused: connection refused", "nak"), attempt(0, 2, 503, "the receiver answered 503 Service Unavailable", "term"),
	}})
	if _, err := s.store.StartReplay(t.Context(), record.ID, nil, dlqstore.Actor{Name: "anna"}); err != nil {
		t.Fatal(err)
	}
	s.project(dlqstore.Batch{Attempts: []dlqstore.Attempt{attempt(1, 1, 204, "", "ack")}})
	page := s.get("/dead-letters/" + record.ID)
	s.has(page, "First delivery", "No answer", "refused: connection refused", "503 Service Unavailable", "busy", "Replay 1", "204 No Content",
		"A replay has delivered it since.", "15.0 s")
	if strings.Contains(page.body, "the receiver answered 503 Service Unavailable") {
		t.Error("an attempt says its status twice")
	}
}

func TestBesideInTheList(t *testing.T) {
	s := start(t, nil)
	var records []dlqstore.Record
	for i := range 5 {
		records = append(records, dead(i, nil))
	}
	ids := s.add(records...)
	link := regexp.MustCompile(`rel="(prev|next)" href="([^"]+)"`)
	beside := func(path string) map[string]string {
		found := map[string]string{}
		for _, m := range link.FindAllStringSubmatch(s.get(path).body, -1) {
			found[m[1]] = strings.ReplaceAll(m[2], "&amp;", "&")
		}
		return found
	}
	list := s.get("/dead-letters?limit=2&route=orders-to-billing")
	path := regexp.MustCompile(`href="(/dead-letters/` + ids[4] + `\?list=[^"]+)"`).FindStringSubmatch(list.body)
	if path == nil {
		t.Fatalf("no link that knows the list in\n%s", list.body)
	}
	var walked []string
	here := path[1]
	for here != "" {
		walked = append(walked, here[len("/dead-letters/"):][:len(ids[0])])
		here = beside(here)["next"] // over the ends of pages
	}
	if want := []string{ids[4], ids[3], ids[2], ids[1], ids[0]}; !slices.Equal(walked, want) {
		t.Errorf("walked %v, want %v", walked, want)
	}
	if got := beside("/dead-letters/" + ids[3] + "?list=limit%3D2"); !strings.HasPrefix(got["prev"], "/dead-letters/"+ids[4]) {
		t.Errorf("beside the second: %v", got)
	}
	s.form("/dead-letters/"+ids[2]+"/discard", "")
	got := beside("/dead-letters/" + ids[2] + "?list=limit%3D2")
	if got["prev"] != "" || !strings.HasPrefix(got["next"], "/dead-letters/"+ids[1]) {
		t.Errorf("beside one that left the list: %v", got)
	}
	s.has(s.get("/dead-letters/"+ids[0]+"?list=route%3Dx%26cursor%3Drubbish"), `href="/dead-letters?cursor=rubbish&amp;route=x"`)
}

func TestCurl(t *testing.T) {
	s := start(t, nil)
	ids := s.add(
		dead(1, func(d *dlqstore.DeadLetter) { d.Payload = []byte(`{"it's":9007199254740993}`) }),
		dead(2, func(d *dlqstore.DeadLetter) { d.Payload = []byte("\x00\xff") }),
		dead(3, func(d *dlqstore.DeadLetter) { d.Route = "gone" }),
	)
	command := regexp.MustCompile(`data-copy="(curl[^"]+)"`)
	got := html.UnescapeString(command.FindStringSubmatch(s.get("/dead-letters/" + ids[0]).body)[1])
	want := `curl -X POST 'https://billing.example.com/hooks/orders' -H 'Content-Type: application/json' -H 'webhook-id: ` + ids[0] +
		`' --data-binary '{"it'\''s":9007199254740993}'`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s.has(s.get("/dead-letters/"+ids[1]), "@"+ids[1]+".json")
	if strings.Contains(s.get("/dead-letters/"+ids[2]).body, "curl -X") {
		t.Error("a command without a target")
	}
}

func TestBasePath(t *testing.T) {
	s := start(t, func(o *admin.Options) { o.BasePath = "/tools/relay/" })
	id := s.add(dead(1, nil))[0]
	foreign := regexp.MustCompile(`(?:href|action|src|hx-sse:connect)="(/[^"]*)"`)
	for _, path := range []string{"/", "/dead-letters", "/dead-letters/" + id, "/replays", "/replays/new", "/audit", "/routes/orders-to-billing", "/none"} {
		for _, at := range []string{path, "/tools/relay" + path} { // the proxy may have stripped it
			page := s.get(at)
			for _, m := range foreign.FindAllStringSubmatch(page.body, -1) {
				if !strings.HasPrefix(m[1], "/tools/relay/") {
					t.Errorf("%s leads to %s", at, m[1])
				}
			}
			if path != "/none" && page.status != http.StatusOK {
				t.Errorf("%s: %d", at, page.status)
			}
		}
	}
	if got := s.form("/tools/relay/dead-letters/"+id+"/replay", ""); got.header.Get("Location") != "/tools/relay/dead-letters/"+id+"?about="+id+"&done=replaying" {
		t.Errorf("sent to %q", got.header.Get("Location"))
	}
	if got := s.get("/tools/relay"); got.header.Get("Location") != "/tools/relay/" {
		t.Errorf("sent to %q", got.header.Get("Location"))
	}
	if got := s.get("/healthz"); got.status != http.StatusOK {
		t.Errorf("probe: %d", got.status)
	}
	for _, wrong := range []string{"/a b", "/a?b", "/a/../b", "/%2f", "//a//b"} {
		if _, err := admin.New(admin.Options{Store: s.store, Routes: s.runtime, NATS: func(context.Context) error { return nil }, BasePath: wrong}); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

func TestPayloadViews(t *testing.T) {
	tests := []struct {
		name, payload, view string
		want                []string
	}{
		{"JSON is pretty", `{"id":12345678901234567890}`, "", []string{"{\n  &#34;id&#34;: 12345678901234567890\n}", "Pretty"}},
		{"JSON as it is", `{"id":1}`, "text", []string{`{&#34;id&#34;:1}`}},
		{"JSON in bytes", `{"id":1}`, "hex", []string{"7b 22 69 64"}},
		{"no JSON", "hello\nworld", "pretty", []string{"hello\nworld"}},
		{"binary", "\x00\xff", "", []string{"00000000  00 ff"}},
		{"empty", "", "", []string{"The payload is empty", "0 bytes"}},
		{"large", strings.Repeat("x", 300<<10), "", []string{"Only the first 256.0 KiB are shown", "300.0 KiB"}},
		{"large in bytes", strings.Repeat("x", 20<<10), "hex", []string{"Only the first 16.0 KiB are shown"}},
		{"nested too deeply", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "pretty", []string{"[[[["}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(1, func(d *dlqstore.DeadLetter) { d.Payload = []byte(test.payload) }))[0]
			page := s.get("/dead-letters/" + id + "?view=" + test.view)
			s.has(page, test.want...)
			if len(page.body) > 600<<10 {
				t.Errorf("page of %d bytes", len(page.body))
			}
		})
	}
}

func TestAssets(t *testing.T) {
	s := start(t, nil)
	for _, path := range regexp.MustCompile(`/assets/[^"]+`).FindAllString(s.get("/").body, -1) {
		got := s.get(path)
		if got.status != http.StatusOK || got.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || got.body == "" {
			t.Errorf("%s: got %d, Cache-Control %q", path, got.status, got.header.Get("Cache-Control"))
		}
	}
	for _, path := range []string{"/assets/relay.css", "/assets/..%2fassets.go", "/assets/"} {
		if got := s.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
}

// TestReadingChangesNothing follows every link from the overview.
func TestReadingChangesNothing(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(1, nil), dead(2, nil), dead(3, nil))
	if err := s.store.Discard(t.Context(), ids[2], "", dlqstore.Actor{}); err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`(?:href|action)="([^"#]+)`)
	before, seen, queue := fmt.Sprint(s.state(ids[0]), s.state(ids[1]), s.state(ids[2]), s.runtime.Routes()), map[string]bool{}, []string{"/"}
	for len(queue) > 0 {
		path := strings.ReplaceAll(queue[0], "&amp;", "&")
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		if !strings.HasPrefix(path, "/") {
			t.Errorf("a link leaves the site: %q", path)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(s.get(path).body, -1) {
			queue = append(queue, m[1])
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d links found: %v", len(seen), seen)
	}
	if after := fmt.Sprint(s.state(ids[0]), s.state(ids[1]), s.state(ids[2]), s.runtime.Routes()); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
}

// TestAttemptsFilter: whatever is done with what the filter chooses is done with no more.
func TestAttemptsFilter(t *testing.T) {
	s := start(t, nil)
	few := s.add(dead(1, func(d *dlqstore.DeadLetter) { d.RetryCount, d.OriginalSubject = 3, "orders.few" }))[0]
	many := s.add(dead(2, nil))[0]
	for _, query := range []string{"", "&q=order", "&state=all"} {
		page := s.get("/dead-letters?min_attempts=8" + query)
		s.has(page, many, `name="min_attempts" value="8"`)
		if strings.Contains(page.body, few) {
			t.Errorf("%q lists one of 3 attempts", query)
		}
	}
	s.has(s.get("/dead-letters?min_attempts=x"), "in_attempts: a number from 1 to")
	s.has(s.get("/replays/new?min_attempts=8"), "Replay 1", "attempts at least 8")
	if got := s.get("/api/v1/dead-letters?min_attempts=9"); strings.Contains(got.body, "msg_") {
		t.Errorf("the API lists %s", got.body)
	}
	if got := s.post("/api/v1/dead-letters/discard", `{"filter":{"min_attempts":8}}`); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if s.state(few) != dlqstore.Dead || s.state(many) != dlqstore.Discarded {
		t.Errorf("%s, %s", s.state(few), s.state(many))
	}
}

// TestLargePayloadsInList: a table shows no payloads, so that they make no page short.
func TestLargePayloadsInList(t *testing.T) {
	s := start(t, nil)
	var ids []string
	for i := range 4 {
		ids = append(ids, s.add(dead(i, func(d *dlqstore.DeadLetter) { d.Payload = make([]byte, 5<<20) }))...)
	}
	s.has(s.get("/dead-letters"), ids...)
}

// TestBackStaysHere: a refused request of any path leads to no other host.
func TestBackStaysHere(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"//evil.example/x", "//evil.example/x/replay"} {
		if got := s.form(path, ""); got.status != http.StatusNotFound || strings.Contains(got.body, `"//`) {
			t.Errorf("%s: got %d\n%s", path, got.status, got.body)
		}
	}
}

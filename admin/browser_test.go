package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	js "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// window is a browser on the admin surface. It remembers what must not happen: a
// dialog, an error in the console, a request to another host, something that the content
// security policy forbids.
type window struct {
	t   *testing.T
	ctx context.Context
	url string

	mu         sync.Mutex
	wrong      []string
	violations int // of the content security policy
}

func open(t *testing.T, url string) *window {
	t.Helper()
	ctx, cancel := context.WithTimeout(testkit.Browser(t), 2*time.Minute)
	t.Cleanup(cancel)
	w := &window{t: t, ctx: ctx, url: url}
	if err := chromedp.Listen(ctx, w.watch); err != nil {
		t.Fatal(err)
	}
	// chromedp follows the network only when told to.
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, text := range w.wrong {
			t.Error("in the browser: " + text)
		}
		if w.violations != 0 {
			t.Errorf("%d violations of the content security policy", w.violations)
		}
	})
	return w
}

func (w *window) watch(ev any) {
	var text string
	switch e := ev.(type) {
	case *page.EventJavascriptDialogOpening:
		text = "dialog: " + e.Message
	case *log.EventEntryAdded:
		text = fmt.Sprintf("console %s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *js.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
	case *js.EventConsoleAPICalled:
		text = fmt.Sprintf("console call: %s", e.Type)
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			w.mu.Lock()
			w.violations++
			w.mu.Unlock()
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, w.url) {
			text = "request to " + e.Request.URL
		}
	}
	if text != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wrong = append(w.wrong, text)
	}
}

func (w *window) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	if err := chromedp.Do(w.ctx, steps...); err != nil {
		w.t.Fatal(err)
	}
}

// visit loads a path and returns its status.
func (w *window) visit(path string) int {
	w.t.Helper()
	resp, err := chromedp.RunResponse(w.ctx, chromedp.Navigate(w.url+path))
	if err != nil {
		w.t.Fatalf("visit %s: %v", path, err)
	}
	return int(resp.Status)
}

// click clicks what leads to another page, and waits for it.
func (w *window) click(selector string) {
	w.t.Helper()
	if _, err := chromedp.RunResponse(w.ctx, chromedp.Click(selector)); err != nil {
		w.t.Fatalf("click %s: %v", selector, err)
	}
}

func (w *window) text() string {
	w.t.Helper()
	text, err := chromedp.Run(w.ctx, chromedp.Text("body"))
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

func (w *window) says(texts ...string) {
	w.t.Helper()
	got := w.text()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			w.t.Errorf("the page does not say %q:\n%s", text, got)
		}
	}
}

// night fills a store with what a bad night leaves behind, and returns the ids.
func night(s *surface) []string {
	s.t.Helper()
	var batch dlqstore.Batch
	for i := range 24 {
		record := dead(i, func(d *dlqstore.DeadLetter) {
			if i == 0 {
				d.Headers = map[string][]string{"Content-Type": {"application/json"}, "Nats-Msg-Id": {"order-7"}, "X-Api-Key": {"k1"}}
			}
			switch i % 4 {
			case 1:
				d.Route, d.OriginalSubject, d.Status = "orders-to-search", "orders.eu.updated", 0
				d.Error = "refused: dial tcp 10.1.4.7:443: connect: connection refused"
			case 2:
				d.Reason, d.Status, d.RetryCount = dlqstore.Rejected, 422, 1
				d.Error = "the receiver answered 422"
			}
		})
		for n := 1; n <= min(record.RetryCount, 3); n++ {
			a := dlqstore.Attempt{ID: record.ID, Route: record.Route, Number: n, At: record.FailedAt.Add(time.Duration(n-3) * time.Minute),
				Status: record.Status, Duration: time.Duration(40*n) * time.Millisecond, Verdict: "nak"}
			if n == 2 || record.Status == 0 {
				a.Status, a.Error, a.Duration = 0, "timeout_headers: no answer within 15s", 15*time.Second
			} else {
				a.Response = []byte(`{"error":"the invoice service is being restarted","retry":true}`)
			}
			batch.Attempts = append(batch.Attempts, a)
		}
		batch.DeadLetters = append(batch.DeadLetters, record)
	}
	s.project(batch)
	ids := make([]string, len(batch.DeadLetters))
	for i, d := range batch.DeadLetters {
		ids[i] = d.ID
	}
	return ids
}

func TestOperatorInTheBrowser(t *testing.T) {
	s := start(t, nil)
	ids := night(s)
	w := open(t, s.url)

	w.visit("/")
	w.says("Overview", "orders-to-billing", "Running", "Connected")
	w.click(`a.tile`)
	w.says("24 dead letters", "orders.eu.updated", "connection refused")

	// A replay from the list.
	w.do(chromedp.SetValue(`select[name=route]`, "orders-to-billing"), chromedp.SetValue(`select[name=reason]`, "exhausted"))
	w.click(`.filters button`)
	w.says("12 dead letters match")
	w.click(fmt.Sprintf(`form[action="/dead-letters/%s/replay"] button`, ids[0]))
	w.says("Replay started", "11 dead letters match")
	if got := s.state(ids[0]); got != dlqstore.Replaying {
		t.Errorf("state after the click: %s", got)
	}

	// One dead letter, from end to end.
	w.visit("/dead-letters/" + ids[4])
	w.says("Relay stopped after 8 attempts", "503 Service Unavailable", "9007199254740997", "Event-Type")
	w.do(chromedp.SetValue(`input[name=reason]`, "test traffic"))
	w.click(`.discard button`)
	w.says("Discarded. It can be restored.", "test traffic")
	w.click(`form[action$="/restore"] button`)
	w.says("It is open again")
	w.click(`form[action$="/replay"] button`)
	w.says("Replay started", "A replay is under way")
	if got := s.state(ids[4]); got != dlqstore.Replaying {
		t.Errorf("state after the click: %s", got)
	}

	w.visit("/routes/orders-to-billing")
	w.click(`form[action$="/pause"] button`)
	w.says("Paused")
	w.click(`form[action$="/resume"] button`)
	w.says("Running")
}

// TestEditorInTheBrowser logs in, edits, sends and logs out.
func TestEditorInTheBrowser(t *testing.T) {
	dir := shots(t)
	s := guarded(t, staff(t), nil)
	id := s.add(dead(0, nil))[0]
	w := open(t, s.url)
	w.do(chromedp.EmulateViewport(360, 800))
	w.visit("/dead-letters/" + id + "/edit")
	w.says("Log in")
	w.shoot(filepath.Join(dir, "login-360.png"))
	w.do(chromedp.SetValue(`input[name=name]`, "edda"), chromedp.SetValue(`input[name=password]`, "edda-secret"))
	w.click(`.login button`)
	w.says("Edit and replay", "edda", "Log out")
	w.fits("edit", 360)
	w.do(chromedp.SendKeys(`textarea[name=payload]`, "}"))
	w.becomes("line 1, character 1: invalid character '}' looking for beginning of value")
	w.fits("edit, checked", 360)
	w.press(kb.Backspace)
	w.becomes("Nothing is changed yet")
	w.do(chromedp.SendKeys(`textarea[name=headers]`, "X-Trace: 7\n"))
	w.becomes("This is JSON, and the headers are in order")
	w.do(chromedp.SetValue(`textarea[name=payload]`, "{\n  \"order\": 9007199254740993,\n  \"total\": 13\n}"))
	show := `.edit > .actions:last-child button`
	w.click(show)
	w.click(show) // it only ever shows
	if got := s.state(id); got != dlqstore.Dead {
		t.Fatalf("before it is sent: %s", got)
	}
	w.says("The difference", `"total": 13`, `"total": 12.50`)
	w.fits("edit, difference", 360)
	w.shoot(filepath.Join(dir, "edit-difference-360.png"))
	w.do(chromedp.EmulateViewport(1280, 800))
	w.shoot(filepath.Join(dir, "edit-difference-1280.png"))
	w.click(`.edit > .actions button.primary`)
	w.says("This copy is on its way", "Replaying")
	if got := s.state(id); got != dlqstore.Discarded {
		t.Errorf("the original is %s", got)
	}
	w.click(`form[action="/logout"] button`)
	w.says("Log in")
}

// TestLooks draws every page in light and dark, wide and narrow, into the folder
// that RELAY_SCREENSHOTS names, and checks that nothing is wider than the window.
func TestLooks(t *testing.T) {
	dir := shots(t)
	s := start(t, func(o *admin.Options) {
		o.Config = func() admin.ConfigStatus { return admin.ConfigStatus{LoadedAt: noon.Add(-50 * time.Minute)} }
	})
	ids := night(s)
	if err := s.store.Discard(t.Context(), ids[8], "test traffic", dlqstore.Actor{Name: "anna"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.StartReplay(t.Context(), ids[12], nil, dlqstore.Actor{Name: "anna"}); err != nil {
		t.Fatal(err)
	}
	var job dlqstore.Job
	for _, route := range []string{"orders-to-billing", "orders-to-search"} {
		spec := dlqstore.JobSpec{Filter: dlqstore.Filter{Route: route, Reason: dlqstore.Exhausted}, RatePerSecond: 50, Ramp: true, StopAfter: 20}
		var err error
		if job, err = s.store.StartJob(t.Context(), spec, dlqstore.Actor{Name: "anna", Source: "10.0.0.7"}); err != nil {
			t.Fatal(err)
		}
	}
	pages := []struct{ name, path string }{
		{"overview", "/"},
		{"dead-letters", "/dead-letters"},
		{"dead-letters-all", "/dead-letters?state=all"},
		{"dead-letters-none", "/dead-letters?state=delivered"},
		{"dead-letter", "/dead-letters/" + ids[0]},
		{"dead-letter-discarded", "/dead-letters/" + ids[8]},
		{"notice", "/dead-letters?done=replaying&about=" + ids[12]},
		{"route", "/routes/orders-to-billing"},
		{"route-breaker", "/routes/orders-to-search"},
		{"edit", "/dead-letters/" + ids[0] + "/edit"},
		{"replays", "/replays"},
		{"replays-new", "/replays/new?route=orders-to-billing"},
		{"replay", "/replays/" + job.ID},
		{"audit", "/audit"},
		{"audit-none", "/audit?actor=zoe"},
		{"not-found", "/nothing"},
	}
	w := open(t, s.url)
	for _, scheme := range []string{"light", "dark"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, media); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{1280, 360} {
			w.do(chromedp.EmulateViewport(width, 800))
			for _, p := range pages {
				w.visit(p.path)
				w.fits(p.name, width)
				w.shoot(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", p.name, scheme, width)))
			}
		}
	}
	// The browser tells the console of the page that is not there, which is right.
	w.wrong = slices.DeleteFunc(w.wrong, func(text string) bool { return strings.Contains(text, "404") })
}

// shots is the folder for pictures.
func shots(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("RELAY_SCREENSHOTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

func (w *window) fits(name string, width int64) {
	w.t.Helper()
	got, err := chromedp.Run(w.ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
	if err != nil {
		w.t.Fatal(err)
	}
	if got > width {
		w.t.Errorf("%s is %d px wide in a window of %d px", name, got, width)
	}
}

func (w *window) shoot(path string) {
	w.t.Helper()
	png, err := chromedp.Run(w.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// hostile are texts that a producer or a receiver may send.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `</script><script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`,
		`<img src=https://evil.example.com/x.png>`, `<svg onload=alert(1)>`, `<iframe src=javascript:alert(1)>`, `<body onload=alert(1)>`,
		`<a href="javascript:alert(1)">x</a>`, `javascript:alert(1)`, `data:text/html,<script>alert(1)</script>`, `" onmouseover="alert(1)`,
		`' autofocus onfocus='alert(1)`, "` onerror=`alert(1)", `</title><script>alert(1)</script>`, `</textarea><script>alert(1)</script>`,
		`</pre><script>alert(1)</script>`, `</style><script>alert(1)</script>`, `<!--<script>alert(1)//-->`, `]]><script>alert(1)</script>`,
		`<meta http-equiv=refresh content="0;url=https://evil.example.com">`, `<base href=https://evil.example.com/>`,
		`<link rel=stylesheet href=https://evil.example.com/x.css>`, `<form action=https://evil.example.com><button>x</button></form>`,
		`<object data=https://evil.example.com>`, `<embed src=https://evil.example.com>`, `<math><mi xlink:href="javascript:alert(1)">`,
		`<style>@import "https://evil.example.com/x.css"</style>`, `<div style="background:url(https://evil.example.com/x)">`,
		`{{.Secret}}`, `{{template "content"}}`, `${alert(1)}`, `%3Cscript%3Ealert(1)%3C/script%3E`, `&lt;script&gt;alert(1)&lt;/script&gt;`,
		`&#60;script&#62;alert(1)&#60;/script&#62;`, `\u003cscript\u003ealert(1)\u003c/script\u003e`, "\u202e\u2066gnp.exe", "a\u200bb\ufeffc\u2028d",
		"\x1b[31mred\x1b[0m\x07", "\xff\xfe\xc0\xaf", "+ADw-script+AD4-alert(1)+ADw-/script+AD4-", strings.Repeat("Z\u0351\u036b\u0343", 60),
		strings.Repeat("wide", 900), `=HYPERLINK("https://evil.example.com")`, `../../../../etc/passwd`, `//evil.example.com/`,
	}
}

// TestHostileTexts puts each text into every field that is foreign and looks at
// every page that shows it.
func TestHostileTexts(t *testing.T) {
	all := strings.Join(hostile(), " ")
	s := start(t, func(o *admin.Options) { o.Fleet = processes{all} })
	var batch dlqstore.Batch
	for i, text := range hostile() {
		record := dead(i, func(d *dlqstore.DeadLetter) {
			d.OriginalSubject, d.Error, d.Payload = "s."+text, text, []byte(text)
			d.ConsumerName, d.Stream = text, text
			if i%2 == 1 { // whoever may write to the dead-letter stream names the route
				d.Route = text
			}
			d.Headers = map[string][]string{text: {text}, "Content-Type": {"text/html"}}
			d.FailedAt = noon.Add(-time.Duration(i) * time.Minute)
		})
		batch.DeadLetters = append(batch.DeadLetters, record)
		batch.Attempts = append(batch.Attempts, dlqstore.Attempt{ID: record.ID, Route: record.Route, Number: 8, At: noon,
			Status: 500, Error: text, Response: []byte(text), Verdict: "nak",
			ResponseHeaders: map[string][]string{text: {text}}})
	}
	s.project(batch)
	s.runtime.routes[0].Description, s.runtime.routes[0].LastError, s.runtime.routes[0].StateReason = all, all, all
	s.runtime.routes[0].FilterSubjects, s.runtime.routes[0].Settings = hostile(), []admin.Setting{{Name: all, Value: all}}

	w := open(t, s.url)
	w.do(chromedp.EmulateViewport(360, 800))
	paths := []string{"/", "/routes/orders-to-billing", "/dead-letters", "/dead-letters?limit=500", "/replays/new", "/replays", "/audit"}
	for _, d := range batch.DeadLetters {
		paths = append(paths, "/dead-letters/"+d.ID, "/dead-letters/"+d.ID+"/edit")
	}
	for _, text := range hostile()[:8] {
		spec := dlqstore.JobSpec{Filter: dlqstore.Filter{Query: text, Subject: text}}
		job, err := s.store.StartJob(t.Context(), spec, dlqstore.Actor{Name: text, Source: text})
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, "/replays/new?q="+url.QueryEscape(text), "/replays/"+job.ID, "/audit?actor="+url.QueryEscape(text))
	}
	for _, path := range paths {
		status := w.visit(path)
		cannot := status == http.StatusConflict && strings.HasSuffix(path, "/edit") // bytes that no form holds
		if status != http.StatusOK && !cannot {
			t.Errorf("%s: %d", path, status)
		}
		w.fits(path, 360)
		foreign, err := chromedp.Run(w.ctx, chromedp.Evaluate[int](
			`document.querySelectorAll("script:not([src^='/assets/'][defer]), iframe, object, embed, base, style, meta[http-equiv], [onload], [onerror], [style]").length`))
		if err != nil || foreign != 0 {
			t.Errorf("%s: %d foreign elements (%v)", path, foreign, err)
		}
	}
	dir := shots(t)
	for _, width := range []int64{360, 1280} {
		w.do(chromedp.EmulateViewport(width, 800))
		for i, path := range append(paths[:7:7], paths[len(paths)-2], "/dead-letters/"+batch.DeadLetters[42].ID) {
			w.visit(path)
			w.fits(path, width)
			w.shoot(filepath.Join(dir, fmt.Sprintf("hostile-%d-%d.png", i, width)))
		}
	}
	// The console tells of the pages that answer with a conflict, which is right.
	w.wrong = slices.DeleteFunc(w.wrong, func(text string) bool { return strings.Contains(text, "409") })
	page := s.get("/dead-letters").body
	if strings.ContainsAny(page, "\u202e\u2066\u200b\x1b\x07") {
		t.Error("characters that cannot be seen are on the page as they came")
	}
}

package admin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	js "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/testkit"
)

// axePacked is axe-core 4.14.1 as the npm registry has it, packed (MPL 2.0).
//
//go:embed testdata/axe.min.js.gz
var axePacked []byte

const axeSHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

func axe(t *testing.T) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(axePacked))
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(z)
	if sum := sha256.Sum256(script); err != nil || hex.EncodeToString(sum[:]) != axeSHA256 {
		t.Fatalf("axe-core is not the file it was (%v)", err)
	}
	return string(script)
}

// scheme makes the browser prefer light or dark.
func (w *window) scheme(name string) {
	w.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
	if _, err := chromedp.Call(w.ctx, emulation.SetEmulatedMedia, media); err != nil {
		w.t.Fatal(err)
	}
}

// TestAccessible lets axe-core look at every page, in light and dark.
func TestAccessible(t *testing.T) {
	script := axe(t)
	s := start(t, func(o *admin.Options) {
		o.Config = func() admin.ConfigStatus { return admin.ConfigStatus{LoadedAt: noon, Error: "x", FailedAt: noon} }
	})
	pages := everyPage(s)
	w := open(t, s.url)
	w.accessible(script, pages...)
	open(t, guarded(t, staff(t), nil).url).accessible(script, "/login")
	w.wrong = slices.DeleteFunc(w.wrong, func(text string) bool { return strings.Contains(text, "404") })
}

// accessible fails the test for what axe-core finds on the pages.
func (w *window) accessible(script string, paths ...string) {
	w.t.Helper()
	for _, name := range []string{"light", "dark"} {
		w.scheme(name)
		for _, path := range paths {
			w.visit(path)
			found, err := chromedp.Run(w.ctx, chromedp.Evaluate[[]string](script+`;axe.run({runOnly:["wcag2a","wcag2aa","wcag21a","wcag21aa","wcag22aa","best-practice"]}).then(
				r => r.violations.map(v => v.id + ": " + v.help + " at " + v.nodes.map(n => n.target + " " + n.failureSummary).join("; ")))`,
				func(p *js.EvaluateParams) { p.AwaitPromise = new(true) }))
			if err != nil {
				w.t.Fatal(err)
			}
			for _, text := range found {
				w.t.Errorf("%s, %s: %s", path, name, text)
			}
		}
	}
}

// TestViolationsAreCounted: what every other browser test counts none of can be counted.
func TestViolationsAreCounted(t *testing.T) {
	w := open(t, start(t, nil).url)
	w.visit("/")
	w.do(chromedp.Evaluate[chromedp.Void](`void document.body.insertAdjacentHTML("beforeend", "<p style='color: red'>x</p>")`))
	testkit.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.violations == 1
	}, "one violation")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations, w.wrong = 0, nil
}

// everyPage fills the store and returns a path of each page.
func everyPage(s *surface) []string {
	s.t.Helper()
	ids := night(s)
	anna := dlqstore.Actor{Name: "anna"}
	if err := s.store.Discard(s.t.Context(), ids[8], "test traffic", anna); err != nil {
		s.t.Fatal(err)
	}
	job, err := s.store.StartJob(s.t.Context(), dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders-to-search"}, RatePerSecond: 50}, anna)
	if err != nil {
		s.t.Fatal(err)
	}
	return []string{"/", "/routes/orders-to-billing", "/routes/orders-to-search", "/dead-letters", "/dead-letters?state=all", "/dead-letters?state=delivered",
		"/dead-letters/" + ids[0], "/dead-letters/" + ids[8], "/dead-letters/" + ids[0] + "/edit", "/replays", "/replays/new", "/replays/" + job.ID, "/audit", "/none"}
}

// TestWithoutScript: every action works where no script runs.
func TestWithoutScript(t *testing.T) {
	s := start(t, nil)
	ids := night(s)
	w := open(t, s.url)
	blocked := network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: s.url + "/assets/*.js", Block: true}}}
	if _, err := chromedp.Call(w.ctx, network.SetBlockedURLs, blocked); err != nil {
		t.Fatal(err)
	}
	w.visit("/")
	if page := w.html(); strings.Contains(page, `<html lang="en" class=`) {
		t.Fatal("scripts run")
	}
	w.visit("/dead-letters")
	w.do(chromedp.Click(fmt.Sprintf(`input[type=checkbox][value=%q]`, ids[0])), chromedp.Click(fmt.Sprintf(`input[type=checkbox][value=%q]`, ids[4])))
	w.click(`#choose button[value=discard]`)
	w.click(`form.fields button.primary`)
	if s.state(ids[0]) != dlqstore.Discarded || s.state(ids[4]) != dlqstore.Discarded {
		t.Errorf("%s, %s", s.state(ids[0]), s.state(ids[4]))
	}
	w.visit("/dead-letters/" + ids[8])
	w.click(`form[action$="/replay"] button`)
	if s.state(ids[8]) != dlqstore.Replaying {
		t.Errorf("%s", s.state(ids[8]))
	}
	w.visit("/replays/new?route=orders-to-search")
	w.click(`form.fields button.primary`)
	w.click(`.jobs form[action$="/pause"] button`)
	jobs, err := s.store.Jobs(t.Context(), 1)
	if err != nil || len(jobs) != 1 || jobs[0].State != dlqstore.JobPaused {
		t.Errorf("%+v (%v)", jobs, err)
	}
	// The browser tells the console what it did not load, which is what was asked of it.
	w.wrong = slices.DeleteFunc(w.wrong, func(text string) bool { return strings.Contains(text, "BLOCKED_BY_CLIENT") })
}

func (w *window) html() string {
	w.t.Helper()
	page, err := chromedp.Run(w.ctx, chromedp.OuterHTML("html"))
	if err != nil {
		w.t.Fatal(err)
	}
	return page
}

// press types keys into whatever has the focus.
func (w *window) press(keys ...string) {
	w.t.Helper()
	for _, key := range keys {
		w.do(chromedp.KeyEvent(key))
	}
}

// focus waits until the element that has the focus says the text.
func (w *window) focus(want string) {
	w.t.Helper()
	testkit.Eventually(w.t, func() bool {
		text, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](`document.activeElement.name || document.activeElement.textContent`))
		return err == nil && strings.Contains(text, want)
	}, "the focus on %q", want)
}

// at waits for a page whose path matches the pattern.
func (w *window) at(pattern string) {
	w.t.Helper()
	testkit.Eventually(w.t, func() bool {
		here, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](`document.readyState + location.pathname`))
		if err != nil {
			return false
		}
		there, err := path.Match("complete"+pattern, here)
		return err == nil && there
	}, "page %s", pattern)
}

// TestByKeyboard goes from the overview to a replay without a mouse.
func TestByKeyboard(t *testing.T) {
	s := start(t, nil)
	ids := night(s)
	w := open(t, s.url)
	w.visit("/")
	w.press("j")
	w.focus("503 Service Unavailable")
	w.press("j", "k", kb.Enter)
	w.at("/dead-letters")
	w.press("/")
	w.focus("q")
	w.press("j") // types
	w.visit("/dead-letters?route=orders-to-billing&reason=exhausted")
	w.press("j", "j", "x", "j", "x", "#") // the newest but one and the one before it
	w.at("/dead-letters/choose")
	w.says("Discard 2")
	w.press(kb.Tab)
	w.do(chromedp.Focus(`form.fields button.primary`))
	w.press(kb.Enter)
	w.at("/dead-letters")
	w.says("Discarded 2 dead letters")
	w.press("j", kb.Enter)
	w.at("/dead-letters/msg_*")
	w.press("j")
	testkit.Eventually(t, func() bool {
		here, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](`location.pathname + document.readyState`))
		return err == nil && strings.HasPrefix(here, "/dead-letters/msg_") && strings.HasSuffix(here, "complete") && !strings.Contains(here, ids[23])
	}, "the next one of the list")
	w.press("r")
	w.focus("Replay to")
	w.press("?")
	w.says("Keys without Ctrl or Alt do something")
	w.press(kb.Escape)
	outline, err := chromedp.Run(w.ctx, chromedp.Evaluate[string](`getComputedStyle(document.activeElement).outlineStyle`))
	if err != nil || outline == "none" {
		t.Errorf("the focus cannot be seen: %q (%v)", outline, err)
	}
	discarded, err := s.store.Count(t.Context(), dlqstore.Filter{State: dlqstore.Discarded})
	if err != nil || discarded != 2 {
		t.Errorf("%d discarded (%v)", discarded, err)
	}
}

// TestLive sees the overview and the replays change without asking for them again, and
// not change while updates are paused.
func TestLive(t *testing.T) {
	s := start(t, nil)
	w := open(t, s.url)
	w.visit("/")
	w.says("Nothing waits for you")
	s.add(dead(1, nil))
	w.becomes("Look at them")
	w.do(chromedp.Click(`[data-pulse-button]`))
	w.becomes("Paused")
	s.add(dead(2, nil))
	w.do(chromedp.Click(`[data-pulse-button]`))
	w.becomes("Live")

	w.visit("/replays")
	if _, err := s.store.StartJob(t.Context(), dlqstore.JobSpec{}, dlqstore.Actor{Name: "anna"}); err != nil {
		t.Fatal(err)
	}
	w.becomes("0 of 2")
}

// TestLiveWhileLookedAt: nobody is kept up to date who does not look.
func TestLiveWhileLookedAt(t *testing.T) {
	s := start(t, nil)
	var streams atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			streams.Add(1)
			defer streams.Add(-1)
		}
		s.handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(web.Close)
	w := open(t, web.URL)
	w.visit("/")
	for _, look := range []struct {
		hidden string
		want   int32
	}{{"false", 1}, {"true", 0}, {"false", 1}} {
		w.do(chromedp.Evaluate[chromedp.Void](`void Object.defineProperty(document, "hidden", {value: ` + look.hidden + `, configurable: true});
			void document.dispatchEvent(new Event("visibilitychange"))`))
		testkit.Eventually(t, func() bool { return streams.Load() == look.want }, "%d streams while hidden is %s", look.want, look.hidden)
	}
}

// TestLiveByPolling: where the stream of events cannot be had, pages change all the same.
func TestLiveByPolling(t *testing.T) {
	s := start(t, nil)
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			http.Error(rw, "no stream", http.StatusServiceUnavailable)
			return
		}
		s.handler.ServeHTTP(rw, r)
	}))
	t.Cleanup(web.Close)
	w := open(t, web.URL)
	w.visit("/")
	w.becomes("Not live: relay does not answer", "Updated every 5 s") // at most five seconds after
	s.add(dead(1, nil))
	w.becomes("Look at them")
	w.becomes("Updated every 5 s")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = slices.DeleteFunc(w.wrong, func(text string) bool { return strings.Contains(text, "503") })
}

// becomes waits until the page says one of the texts.
func (w *window) becomes(texts ...string) {
	w.t.Helper()
	testkit.Eventually(w.t, func() bool {
		page := w.text()
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(page, text) })
	}, "the page to say %q", texts)
}

// TestEvents reads the stream as a browser does.
func TestEvents(t *testing.T) {
	s := guarded(t, staff(t), nil)
	s.add(dead(1, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/events?page=overview", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer("vera")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v %v", resp, err)
	}
	buffer := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, buffer); err != nil || string(buffer) != "data: " {
		t.Errorf("got %q (%v)", buffer, err)
	}
	defer resp.Body.Close()
	cancel()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the end: %v", err)
	}
	if got := s.get("/events?page=overview"); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("nobody: %d %v", got.status, got.header) // a challenge would open the browser's own dialog
	}
	if got := s.do("GET", "/events?page=nonsense", "", bearer("vera")); got.status != http.StatusBadRequest {
		t.Errorf("no such page: %d", got.status)
	}
}

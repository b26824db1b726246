package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/crypto/bcrypt"

	"relay/dlqstore"
	"relay/internal/testkit"
)

const walkRoutes = `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    description: Invoices for new orders
    stream: ORDERS
    filter_subjects: [orders.>]
    concurrency: 256
    webhook: { url: "%s/hooks/orders", timeout: 10s }
    retry: { max_attempts: 1 }
    circuit_breaker: { consecutive_failures: 0 }
`

// walker is an operator at a browser.
type walker struct {
	t     *testing.T
	ctx   context.Context
	admin string
	shots string // folder for pictures; empty: none are taken
}

func (w *walker) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	if err := chromedp.Do(w.ctx, steps...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walker) visit(path string) {
	w.t.Helper()
	if _, err := chromedp.RunResponse(w.ctx, chromedp.Navigate(w.admin+path)); err != nil {
		w.t.Fatalf("visit %s: %v", path, err)
	}
}

func (w *walker) click(selector string) {
	w.t.Helper()
	if _, err := chromedp.RunResponse(w.ctx, chromedp.Click(selector)); err != nil {
		w.t.Fatalf("click %s: %v", selector, err)
	}
}

// sees waits until the page says all of it, without asking for the page again.
func (w *walker) sees(texts ...string) {
	w.t.Helper()
	text, missing := "", ""
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); {
		var err error
		if text, err = chromedp.Run(w.ctx, chromedp.Text("body")); err != nil {
			w.t.Fatal(err)
		}
		missing = ""
		for _, want := range texts {
			if !strings.Contains(text, want) {
				missing = want
			}
		}
		if missing == "" {
			return
		}
	}
	w.t.Fatalf("the page does not say %q:\n%s", missing, text)
}

func (w *walker) shoot(name string) {
	w.t.Helper()
	if w.shots == "" {
		return
	}
	png, err := chromedp.Run(w.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.shots, name+".png"), png, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// outage puts what a bad night leaves behind into the dead-letter stream: what the
// receiver was too ill to take, three that are malformed, and test traffic.
func (h *house) outage(ill, malformed, test int) {
	h.t.Helper()
	testkit.Eventually(h.t, func() bool { _, err := h.js.Stream(context.Background(), "RELAY_DLQ"); return err == nil }, "stream RELAY_DLQ")
	night := time.Now().Add(-5 * time.Hour)
	for i := range ill + malformed + test {
		d := dlqstore.DeadLetter{
			Route: "billing", Reason: dlqstore.Exhausted, OriginalSubject: "orders.created", Status: http.StatusServiceUnavailable,
			Error: "the receiver answered 503 Service Unavailable", Payload: fmt.Appendf(nil, `{"order":%d,"total":12.5}`, 9007199254740993+i),
			Headers: map[string][]string{"Content-Type": {"application/json"}}, RetryCount: 1, ConsumerName: "relay-billing",
			Stream: "ORDERS", StreamSequence: uint64(i + 1), PublishedAt: night, FailedAt: night.Add(time.Duration(i) * time.Second),
		}
		switch {
		case i >= ill+malformed:
			d.OriginalSubject, d.Payload = "orders.test", []byte(`{"order":"TEST"}`)
		case i >= ill:
			d.Reason, d.Status, d.Error = dlqstore.Rejected, http.StatusUnprocessableEntity, "the receiver answered 422 Unprocessable Entity"
			d.Payload = fmt.Appendf(nil, `{"order":%d,"total":"12,50"}`, i)
		}
		d.ID = dlqstore.NewID(d.Route, d.Stream, d.StreamSequence, d.PublishedAt)
		if d.Reason == dlqstore.Rejected {
			event, err := dlqstore.Attempt{ID: d.ID, Route: d.Route, Number: 1, At: d.FailedAt, Status: d.Status, Error: d.Error,
				Duration: 31 * time.Millisecond, Response: []byte(`{"error":"total: a number wanted"}`), Verdict: "term"}.Encode()
			if err == nil {
				_, err = h.js.PublishMsgAsync(event, jetstream.WithStallWait(time.Minute))
			}
			if err != nil {
				h.t.Fatal(err)
			}
		}
		if _, err := h.js.PublishMsgAsync(dlqstore.Record{DeadLetter: d}.Encode("dlq.billing."+d.OriginalSubject), jetstream.WithStallWait(time.Minute)); err != nil {
			h.t.Fatal(err)
		}
	}
	<-h.js.PublishAsyncComplete()
}

// TestOperatorsWalk is the morning after an outage: find out what failed and why, replay
// it while watching, mend and replay what was malformed, discard the test traffic, and
// show who did what.
func TestOperatorsWalk(t *testing.T) {
	const ill, malformed, tests = 12_400, 3, 35
	h := newHouse(t)
	receiver := testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable))
	hash, err := bcrypt.GenerateFromPassword([]byte("a long password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("anna:"+string(hash)+":editor\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := h.run(writeRoutes(t, walkRoutes, receiver.URL), "--admin-users", users, "--log-sample", "1000000").admin()
	h.outage(ill, malformed, tests)

	ctx, cancel := context.WithTimeout(testkit.Browser(t), 6*time.Minute)
	t.Cleanup(cancel)
	w := &walker{t, ctx, admin, os.Getenv("RELAY_SCREENSHOTS")}
	w.do(chromedp.EmulateViewport(1120, 720))
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}}); err != nil {
		t.Fatal(err)
	}
	w.visit("/")
	w.do(chromedp.SetValue(`input[name=name]`, "anna"), chromedp.SetValue(`input[name=password]`, "a long password"))
	w.click(`.login button`)

	// Which receiver, why, since when.
	w.sees("12,438", "503 Service Unavailable", "422 Unprocessable Entity", "5 h ago")
	w.shoot("walk-1-overview")
	w.click(`#causes ~ .panel tbody tr:first-child .lead a`)
	w.sees("of one cause", "billing", "exhausted")
	w.shoot("walk-2-dead-letters")
	w.click(`.letters tbody tr:first-child .lead a`)
	w.sees("Relay stopped after 1 attempt", "503 Service Unavailable", "As curl")

	// Everything that it was about, while watching. The test traffic is of the same
	// cause; it is put aside first.
	w.visit("/dead-letters?subject=orders.test")
	w.do(chromedp.SetValue(`[data-of]`, "all"))
	w.click(`#choose button[value=discard]`)
	w.sees("Discard 35", "35 of billing")
	w.do(chromedp.SetValue(`input[name=why]`, "test traffic"))
	w.shoot("walk-3-discard")
	w.click(`form.fields button.primary`)
	w.sees("Discarded 35 dead letters")

	receiver.Answer(func(rw http.ResponseWriter, r testkit.Request) {
		if strings.Contains(string(r.Body), `"12,50"`) {
			rw.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	w.visit("/")
	w.click(`#causes ~ .panel tbody tr:first-child .action .button`)
	w.sees("Replay 12,400", receiver.URL+"/hooks/orders")
	w.shoot("walk-4-replay")
	started := time.Now()
	w.click(`form.fields button.primary`)
	w.sees("of 12,400", "50 a second")
	const watched = 300
	receiver.Wait(t, watched)
	w.sees("a second, about")
	w.shoot("walk-5-replays")
	// So many and no more: counted first, timed after, so that a slow machine only makes
	// the bound wider.
	if got, most := len(receiver.Requests()), 50*time.Since(started).Seconds()+20; float64(got) > most {
		t.Errorf("%d deliveries at 50 a second, at most %.0f wanted", got, most)
	}
	// All goes well, and four minutes are long: faster.
	w.click(`.jobs .lead a`)
	w.do(chromedp.SetValue(`.pace input[name=rate]`, "2000"))
	w.click(`.pace button`)
	w.sees("The new rate holds", "2,000 a second")
	thousands := regexp.MustCompile(`[1-9],\d{3} of 12,400`)
	testkit.Eventually(t, func() bool {
		text, err := chromedp.Run(ctx, chromedp.Text("body"))
		return err == nil && thousands.MatchString(text)
	}, "a thousand and more on the page of the job")
	w.shoot("walk-5-faster")
	w.sees("12,400 of 12,400", "Done")

	// The three that were malformed.
	for range malformed {
		w.visit("/dead-letters?reason=rejected")
		w.click(`.letters tbody tr:first-child .lead a`)
		w.sees("422 Unprocessable Entity", "total: a number wanted")
		w.click(`.actions a[href$="/edit"]`)
		payload, err := chromedp.Run(ctx, chromedp.Value(`textarea[name=payload]`))
		if err != nil {
			t.Fatal(err)
		}
		w.do(chromedp.SetValue(`textarea[name=payload]`, strings.Replace(payload, `"12,50"`, `12.50`, 1)))
		w.click(`.edit > .actions:last-child button`)
		w.sees("The difference", `"total": 12.50`)
		w.shoot("walk-6-difference")
		w.click(`button[name=seen]`)
		w.sees("This copy is on its way")
	}
	w.visit("/")
	testkit.Eventually(t, func() bool { return len(bodies(receiver)) >= ill+malformed }, "all that was replayed")

	// Who did what.
	w.visit("/audit?actor=anna&action=discard")
	w.sees("Discarded", "test traffic", "127.0.0.1")
	w.visit("/audit?actor=anna&action=job_started")
	w.sees("Replay job started", "12,400 dead letters", "of one cause")
	w.visit("/audit?actor=anna&action=job_rate")
	w.sees("Replay job rate changed", "50 a second → 2,000 a second")
	w.visit("/audit?actor=anna&action=edit_and_replay")
	w.sees("Edited and replayed", "copy msg_", " → ")
	w.shoot("walk-7-audit")
	w.visit("/")
	w.sees("Nothing waits for you")

	if got := len(bodies(receiver)); got != ill+malformed {
		t.Errorf("the receiver got %d bodies, want %d", got, ill+malformed)
	}
	for body, n := range bodies(receiver) {
		if n != 1 {
			t.Errorf("%s came %d times", body, n)
		}
	}
}

package dispatcher_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"relay/dispatcher"
	"relay/internal/testkit"
)

// However fast messages come, no more go out than the rate and the burst allow.
func TestRateLimitHolds(t *testing.T) {
	const messages, perSecond, burst = 30, 20, 5
	h, r := newHouse(t), testkit.NewReceiver(t, nil)
	h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - { name: billing, stream: ORDERS, filter_subjects: [orders.created], rate_limit: { per_second: %d, burst: %d }, webhook: { url: "%s" } }
`, perSecond, burst, r.URL))
	for i := range messages {
		h.publish("orders.created", fmt.Sprint(i))
	}
	got := r.Wait(t, messages)
	// The receiver notes a request a little after it was let out, the first one perhaps
	// the latest; a tenth is for that.
	least := time.Second * (messages - burst) / perSecond * 9 / 10
	if took := got[messages-1].At.Sub(got[0].At); took < least {
		t.Errorf("%d messages came in %s, the limit allows that in %s", messages, took, least)
	}
}

// A route whose receiver refuses what it gets leaves room to the others. The first refusal
// waits for the other route's first message, and all together are sooner through than a
// route is taken to be alone again.
func TestFailuresArePaced(t *testing.T) {
	const messages, perSecond, concurrency = 80, 100, 16
	h := newHouse(t)
	company := make(chan struct{})
	first := sync.OnceFunc(func() { close(company) })
	other := testkit.NewReceiver(t, func(http.ResponseWriter, testkit.Request) { first() })
	failing := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		<-company
		w.WriteHeader(http.StatusUnprocessableEntity)
	})
	h.backlog(messages)
	h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - { name: failing, stream: ORDERS, filter_subjects: [orders.>], concurrency: %d, webhook: { url: "%s" } }
  - { name: other, stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "%s" } }
`, concurrency, failing.URL, other.URL), func(o *dispatcher.Options) { o.FailuresPerSecond = perSecond })
	got := failing.Wait(t, messages)
	// As many as there are places go out before the first has to wait; a tenth of the
	// time is for what the receiver notes late.
	least := time.Second * (messages - concurrency) / perSecond * 9 / 10
	if took := got[messages-1].At.Sub(got[0].At); took < least {
		t.Errorf("%d messages were refused in %s, want %s or more", messages, took, least)
	}
}

// A receiver that has come back is not met by a herd: one probe, then twice as many at
// once for each time that all of them went well.
func TestRampAfterAnOpenBreaker(t *testing.T) {
	const full = 8
	h := newHouse(t)
	var mu sync.Mutex
	mended, under, most := false, 0, 0
	release := make(chan struct{})
	end := sync.OnceFunc(func() { close(release) })
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		mu.Lock()
		if !mended {
			mu.Unlock()
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		under++
		most = max(most, under)
		mu.Unlock()
		<-release
		mu.Lock()
		under--
		mu.Unlock()
	})
	t.Cleanup(end) // or the receiver would not end
	d := h.start(config(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
routes:
  - name: billing
    stream: ORDERS
    filter_subjects: [orders.created]
    concurrency: %d
    circuit_breaker: { consecutive_failures: 3, open_for: 1s, ramp: true }
    retry: { max_attempts: 50, backoff: { initial: 10ms, max: 20ms } }
    webhook: { url: "%s", timeout: 20s }
`, full, r.URL))
	for i := range 100 {
		h.publish("orders.created", fmt.Sprint(i))
	}
	// When a probe has failed, what waited has gone back, and no attempt of before the
	// breaker opened is on its way any more.
	testkit.Eventually(t, func() bool {
		s := d.Status()[0]
		return s.State == dispatcher.StateBreakerOpen && s.InFlight == 0
	}, "a probe to fail")
	mu.Lock()
	mended = true
	mu.Unlock()
	for _, step := range []int{1, 2, 4, full} {
		testkit.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return under == step }, "%d attempts under way", step)
		mu.Lock()
		if most > step {
			t.Errorf("%d attempts at once, %d is the step", most, step)
		}
		mu.Unlock()
		if step == full {
			break
		}
		for range step {
			release <- struct{}{}
		}
	}
	end()
	h.awaitSettled("ORDERS", "relay-billing")
	mu.Lock()
	defer mu.Unlock()
	if most > full {
		t.Errorf("%d attempts at once, concurrency is %d", most, full)
	}
}

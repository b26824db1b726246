package dispatcher_test

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/testkit"
	"relay/routes"
)

// A message that grows too old dies: of its failures, or of what keeps relay from
// sending it.
func TestTooOldToBeTried(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(r *routes.Route)
		reason dlqstore.Reason
		sent   bool
		status int
	}{
		"the receiver fails": {func(*routes.Route) {}, dlqstore.Expired, true, 409},
		"the egress guard refuses": {func(r *routes.Route) {
			r.Webhook.Egress.Mode, r.Breaker.OpenFor = routes.EgressStrict, 200*time.Millisecond
		}, dlqstore.Blocked, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(409))
			c := config(t, oneRoute, r.URL)
			c.Routes[0].Retry.MaxAttempts, c.Routes[0].Retry.MaxAge = 1000, time.Second
			tt.change(&c.Routes[0])
			h.start(c)
			h.publish("orders.created", "x")
			got := h.awaitDead(1)[0]
			h.awaitSettled("ORDERS", "relay-billing")
			if got.Reason != tt.reason || got.Status != tt.status || got.Error == "" {
				t.Errorf("got reason %s, status %d, error %q; want %s, %d", got.Reason, got.Status, got.Error, tt.reason, tt.status)
			}
			if n := len(r.Requests()); n != got.RetryCount || (n > 0) != tt.sent {
				t.Errorf("%d requests were made, and %d attempts are told", n, got.RetryCount)
			}
		})
	}
}

// A dead letter that does not fit into its stream is in the table, whole, before the
// stream has the rest of it; its reason is that of its death. A replay fetches it.
func TestDeadLetterTooLargeForItsStream(t *testing.T) {
	for name, tt := range map[string]struct {
		body    []byte
		headers []string
	}{
		"body":    {bytes.Repeat([]byte("x"), 1<<20-200), nil},
		"headers": {[]byte("x"), []string{"X-Long", strings.Repeat("y", 9<<10)}},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity, http.StatusNoContent))
			store, err := dlqstore.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "relay.db"), dlqstore.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			d := h.start(config(t, oneRoute, r.URL), func(o *dispatcher.Options) { o.Overflow = store })
			h.publish("orders.created", string(tt.body), tt.headers...)
			// Without its table the message stays where it is.
			testkit.Eventually(t, func() bool { return d.Status()[0].State == dispatcher.StateNoDeadLetters }, "state dead_letter_unavailable")
			if dead := h.deadLetters("RELAY_DLQ"); len(dead) > 0 {
				t.Fatal("the stream has a reference to a row that is not there")
			}
			r.Answer(testkit.Status(http.StatusUnprocessableEntity))
			if err := store.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			ref := h.awaitDead(1)[0]
			if !ref.Reference || ref.Reason != dlqstore.Rejected || len(ref.Payload) > 0 {
				t.Errorf("the stream has reason %s, reference %t, %d bytes", ref.Reason, ref.Reference, len(ref.Payload))
			}
			row, err := store.Get(t.Context(), ref.ID)
			if err != nil || !bytes.Equal(row.Payload, tt.body) || row.Reason != dlqstore.Rejected ||
				(tt.headers != nil && row.Headers["X-Long"][0] != tt.headers[1]) {
				t.Errorf("the table has %d bytes, reason %s: %v", len(row.Payload), row.Reason, err)
			}
			r.Answer(testkit.Status(http.StatusNoContent))
			before := len(r.Requests())
			if _, err := h.js.PublishMsg(context.Background(), dlqstore.Replay{DeadLetter: row, Number: 1}.Reference()); err != nil {
				t.Fatal(err)
			}
			if got := r.Wait(t, before+1)[before]; !bytes.Equal(got.Body, tt.body) {
				t.Errorf("the replay has %d bytes", len(got.Body))
			}
		})
	}
}

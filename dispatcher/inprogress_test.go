package dispatcher_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"relay/internal/testkit"
)

// A message that was stored longer ago than its AckWait and is under way when the
// server restarts, or its consumer gets another leader, is not delivered a second
// time: without a word from relay at its receipt the server would do so at once.
func TestOldMessageUnderWayIsNotDeliveredTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		replicas string
		nats     func(t *testing.T) *testkit.Server
		disturb  func(t *testing.T, h *house)
	}{
		"server restart": {"1", func(t *testing.T) *testkit.Server { t.Helper(); return testkit.NATS(t) }, func(t *testing.T, h *house) {
			t.Helper()
			h.nats.Restart(t)
			h.js = h.nats.JetStream(t)
		}},
		"leader change": {"3", func(t *testing.T) *testkit.Server { t.Helper(); return testkit.Cluster(t)[0] }, func(t *testing.T, h *house) {
			t.Helper()
			leader := func() string {
				c, err := h.js.Consumer(t.Context(), "ORDERS", "relay-billing")
				if err != nil || c.CachedInfo().Cluster == nil {
					return ""
				}
				return c.CachedInfo().Cluster.Leader
			}
			before := leader()
			if _, err := h.js.Conn().Request("$JS.API.CONSUMER.LEADER.STEPDOWN.ORDERS.relay-billing", nil, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, func() bool { now := leader(); return now != "" && now != before }, "another leader than %s", before)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &house{t: t, nats: tt.nats(t)}
			h.js = h.nats.JetStream(t)
			answers := make(chan struct{})
			defer close(answers)
			r := testkit.NewReceiver(t, func(_ http.ResponseWriter, q testkit.Request) {
				if string(q.Body) == "old" {
					<-answers
				}
			})
			c := config(t, strings.Replace(oneRoute, "orders.>]", "orders.>], replicas: "+tt.replicas, 1), r.URL)
			c.Routes[0].Webhook.Timeout = 30 * time.Second
			c.Routes[0].Consumer.AckWait = 6 * time.Second
			h.start(c, h.reconnecting).stop() // makes the stream
			h.publish("orders.created", "old")
			stored := time.Now()
			testkit.Eventually(t, func() bool { return time.Since(stored) > c.Routes[0].Consumer.AckWait+time.Second }, "the message to be old")

			h.start(c, h.reconnecting)
			r.Wait(t, 1)
			tt.disturb(t, h)
			h.publish("orders.created", "new")
			testkit.Eventually(t, func() bool {
				return slices.ContainsFunc(r.Requests(), func(q testkit.Request) bool { return string(q.Body) == "new" })
			}, "deliveries to go on")
			answers <- struct{}{}
			h.awaitSettled("ORDERS", "relay-billing")
			if got := r.Requests(); len(got) != 2 {
				t.Errorf("got %d requests, want 2", len(got))
			}
		})
	}
}

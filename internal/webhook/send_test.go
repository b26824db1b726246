package webhook_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// route is the route of most tests: signed, two at once, an attempt of ten seconds.
func route(url string) routes.Route {
	return routes.Route{
		Name:        "orders",
		Concurrency: 2,
		Webhook: routes.Webhook{
			URL:     url,
			Timeout: 10 * time.Second,
			Signing: routes.Signing{Secrets: []routes.Secret{{Env: "WHSEC"}}},
		},
	}
}

// environment is the environment of every test.
func environment(name string) (string, bool) {
	v, ok := map[string]string{
		"WHSEC": testSecret, "TOKEN": "t0ken-of-the-test", "PASSWORD": "pa55-of-the-test", "CLIENT": "cl1ent-of-the-test",
	}[name]
	return v, ok
}

func newSender(t *testing.T, r routes.Route) *webhook.Sender {
	t.Helper()
	s, err := webhook.New(r, webhook.Options{Version: "1.2.3", LookupEnv: environment})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func message() *webhook.Message {
	return &webhook.Message{
		ID: "msg_abcdefghijklmnopqrstuvwxyz", Subject: "orders.created", Stream: "ORDERS", Sequence: 7, Attempt: 2,
		EventTime: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC),
		Body:      []byte(`{"total": 12}`),
	}
}

// received is a request as a receiver saw it.
type received struct {
	header http.Header
	body   []byte
}

// receiver answers 200 to everything and hands on what it got.
func receiver(t *testing.T) (url string, got <-chan received) {
	t.Helper()
	c := make(chan received, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c <- received{r.Header, body}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, c
}

func TestSend(t *testing.T) {
	url, got := receiver(t)
	s := newSender(t, route(url))
	before := time.Now()
	answer := s.Send(context.Background(), message())
	if answer.Status != 200 || answer.Err != nil || answer.Duration <= 0 {
		t.Fatalf("answer = %+v, want 200", answer)
	}
	r := <-got
	want := map[string]string{
		"Content-Type":          "application/json",
		"Content-Length":        "13",
		"User-Agent":            "relay/1.2.3",
		"Accept-Encoding":       "identity",
		"Webhook-Id":            "msg_abcdefghijklmnopqrstuvwxyz",
		"Relay-Route":           "orders",
		"Relay-Attempt":         "2",
		"Relay-Subject":         "orders.created",
		"Relay-Stream":          "ORDERS",
		"Relay-Stream-Sequence": "7",
		"Relay-Event-Time":      "2026-01-02T03:04:05.0000006Z",
	}
	for name, value := range want {
		if r.header.Get(name) != value {
			t.Errorf("%s = %q, want %q", name, r.header.Get(name), value)
		}
	}
	for name := range r.header {
		if _, ok := want[name]; !ok && name != "Webhook-Signature" && name != "Webhook-Timestamp" {
			t.Errorf("%s: %q was sent too", name, r.header[name])
		}
	}
	if !bytes.Equal(r.body, message().Body) {
		t.Errorf("body = %q", r.body)
	}
	stamp, err := strconv.ParseInt(r.header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil || stamp < before.Unix() || stamp > time.Now().Unix() {
		t.Errorf("webhook-timestamp = %q, want now", r.header.Get("Webhook-Timestamp"))
	}
	if err := webhook.Verify(testSecret, r.header, r.body, time.Now()); err != nil {
		t.Errorf("verify: %v", err)
	}
}

package main

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

// I5: whatever relay is trusted with, none of it comes out again: not in the log, on a
// page, in the API, in the metrics, in a dead letter or on the command line.
func TestNoSecretComesOut(t *testing.T) {
	const canary = "c4n4ry"
	signing := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(canary, 5)))
	t.Setenv("CANARY_SIGNING", signing)
	t.Setenv("CANARY_BEARER", canary+"-bearer")
	t.Setenv("CANARY_HEADER", canary+"-header")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(canary+"-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	s := testkit.NATS(t, func(o *server.Options) { o.Username, o.Password = "relay", canary+"-nats" })
	natsURL := strings.Replace(s.URL, "nats://", "nats://relay:"+canary+"-nats@", 1)
	if strings.Contains(s.URL, "@") {
		natsURL = s.URL
	}
	nc, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// The receiver sends back what it was sent, as some do in their error pages.
	echo := testkit.NewReceiver(t, func(w http.ResponseWriter, q testkit.Request) {
		w.Header().Set("X-Echo", q.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte("you said " + q.Header.Get("Authorization")))
	})
	routes := writeRoutes(t, `
version: 1
streams: [{ name: ORDERS, subjects: [orders.>] }]
defaults:
  retry: { max_attempts: 1 }
routes:
  - name: echo
    stream: ORDERS
    filter_subjects: [orders.echo]
    webhook:
      url: "%[1]s/hook?key=`+canary+`-query"
      headers: { X-Api-Key: "${CANARY_HEADER}" }
      signing: { secrets: [{ env: CANARY_SIGNING }] }
      auth: { bearer: { env: CANARY_BEARER } }
  - name: refused
    stream: ORDERS
    filter_subjects: [orders.refused]
    webhook:
      url: "http://127.0.0.1:1/hook?key=`+canary+`-query"
      auth: { basic: { username: relay, password: { file: %[2]q } } }
`, echo.URL, password)
	p := relay(t, "run", "--routes", routes, "--nats", natsURL, "--admin", "127.0.0.1:0", "--log-level", "debug",
		"--database", testkit.Postgres(t))
	admin := p.admin()
	testkit.Eventually(t, func() bool { _, err := js.Stream(t.Context(), "ORDERS"); return err == nil }, "stream ORDERS")
	for _, subject := range []string{"orders.echo", "orders.refused"} {
		if _, err := js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	var dead []deadLetter
	testkit.Eventually(t, func() bool {
		status, _ := get(t, admin+"/readyz")
		if status == http.StatusOK {
			dead = deadLetters(t, admin, "")
		}
		return len(dead) == 2
	}, "two dead letters")
	if got := echo.Wait(t, 1)[0]; got.Header.Get("Authorization") != "Bearer "+canary+"-bearer" || got.Header.Get("X-Api-Key") != canary+"-header" {
		t.Fatalf("the receiver did not get the secrets at all: %v", got.Header)
	}

	places := map[string]string{"log": p.stderr.String() + p.stdout.String()}
	for _, path := range []string{"/", "/dead-letters", "/routes/echo", "/routes/refused", "/metrics", "/health", "/readyz", "/api/v1/routes", "/api/v1/dead-letters"} {
		_, body := get(t, admin+path)
		places[path] = string(body)
	}
	for _, d := range dead {
		for _, path := range []string{"/dead-letters/" + d.ID, "/api/v1/dead-letters/" + d.ID} {
			_, body := get(t, admin+path)
			places[path] = string(body)
		}
	}
	for _, name := range []string{"RELAY_DLQ", "RELAY_ATTEMPTS"} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range m.Header {
				places[name] += k + strings.Join(v, " ")
			}
			places[name] += string(m.Data)
		}
	}
	for _, secret := range []string{canary, strings.TrimPrefix(signing, "whsec_"), base64.StdEncoding.EncodeToString([]byte("relay:" + canary + "-password"))} {
		for place, text := range places {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s: …%s…", place, text[max(0, i-80):min(len(text), i+80)])
			}
		}
	}
}

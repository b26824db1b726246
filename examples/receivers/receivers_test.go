// Package receivers_test runs each of the example receivers against relay.
package receivers_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
	"relay/internal/webhook"
)

const messages = 100

// Every receiver takes a hundred deliveries that relay signed, each once, and refuses
// what was changed, is old, or was parsed and written again.
func TestReceivers(t *testing.T) {
	secret := webhook.NewSecret()
	t.Setenv("RELAY_SECRET", secret)
	t.Setenv("PORT", "0")
	bin := t.TempDir()
	runTool(t, ".", "go", "build", "-o", bin, "relay/cmd/relay", "relay/examples/receivers/go", "relay/examples/receivers/go/deadletters")
	node := filepath.Join(bin, "node")
	if err := os.CopyFS(node, os.DirFS("node")); err != nil {
		t.Fatal(err)
	}
	runTool(t, node, "npm", "ci", "--no-audit", "--no-fund")
	receivers := map[string]*program{
		"go":      start(t, ".", filepath.Join(bin, "go")),
		"http":    start(t, node, "node", "http.js"),
		"express": start(t, node, "node", "express.js"),
		"python":  start(t, ".", "python3", "python/receiver.py"),
	}
	picky := testkit.NewReceiver(t, testkit.Status(http.StatusUnprocessableEntity))
	var routes strings.Builder
	routes.WriteString("version: 1\nstreams: [{ name: ORDERS, subjects: [orders.>, invoices.>] }]\nroutes:\n")
	fmt.Fprintf(&routes, "  - { name: picky, stream: ORDERS, filter_subjects: [invoices.>], webhook: { url: %q } }\n", picky.URL)
	for name, r := range receivers {
		fmt.Fprintf(&routes, "  - { name: %s, stream: ORDERS, filter_subjects: [orders.>], webhook: { url: %q, signing: { secrets: [ { env: RELAY_SECRET } ] } } }\n", name, r.url(t))
	}
	js := deliver(t, filepath.Join(bin, "relay"), routes.String(), receivers)
	checkDeadLetters(t, js, node, filepath.Join(bin, "deadletters"))
	for name, r := range receivers {
		t.Run(name, func(t *testing.T) { r.check(t, secret) })
	}
	if got := receivers["http"].post(t, make([]byte, 2<<20), time.Now(), ""); got != http.StatusRequestEntityTooLarge {
		t.Errorf("two MiB at http.js: got %d, want 413", got)
	}
	t.Run("signatures", func(t *testing.T) { checkSignatures(t, node) })
}

// deliver publishes the messages and lets relay bring them to every receiver.
func deliver(t *testing.T, relay, routes string, receivers map[string]*program) jetstream.JetStream {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	server := testkit.NATS(t)
	start(t, ".", relay, "run", "--routes", file, "--nats", server.URL, "--database", "sqlite:"+filepath.Join(t.TempDir(), "relay.db"),
		"--admin", "127.0.0.1:0", "--log-level", "warn")
	js := server.JetStream(t)
	testkit.Eventually(t, func() bool { _, err := js.Stream(t.Context(), "ORDERS"); return err == nil }, "relay to make the stream")
	for i := range messages {
		if _, err := js.Publish(t.Context(), "orders.created", order(i)); err != nil {
			t.Fatal(err)
		}
	}
	for name, r := range receivers {
		testkit.Eventually(t, func() bool { return r.count("handled orders.created") == messages }, "receiver %s to handle %d messages", name, messages)
		testkit.Eventually(t, func() bool { return settled(t, js, "relay-"+name) }, "route %s to be done", name)
		if r.count("refused") != 0 {
			t.Errorf("receiver %s refused what relay signed:\n%s", name, r)
		}
	}
	t.Setenv("NATS_URL", server.URL)
	return js
}

// checkDeadLetters lets the NATS client for Node publish a message that its receiver
// refuses, and both find it among the dead letters.
func checkDeadLetters(t *testing.T, js jetstream.JetStream, node, golang string) {
	testkit.Eventually(t, func() bool { _, err := js.Stream(t.Context(), "RELAY_DLQ"); return err == nil }, "the stream of dead letters")
	p := start(t, node, "node", "deadletters.js", "invoices.created", `{"total":-1}`)
	foreign := nats.NewMsg("dlq.foreign")
	if _, err := js.PublishMsg(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	g := start(t, ".", golang)
	const dead = `dead picky invoices.created rejected 422 {"total":-1}` + "\n"
	testkit.Eventually(t, func() bool { return p.count(dead) == 1 && g.count(dead) == 1 }, "the message among the dead letters")
	want := fmt.Sprintf("  message %d of ORDERS, 1 attempts until ", messages+1)
	testkit.Eventually(t, func() bool { return g.count(want) == 1 && g.count("not relay's: dlq.foreign: ") == 1 }, "the headers, and a foreign message")
	if want := fmt.Sprintf("published invoices.created as number %d of ORDERS\n", messages+1); p.count(want) != 1 {
		t.Errorf("no line %q:\n%s", want, p)
	}
}

func settled(t *testing.T, js jetstream.JetStream, consumer string) bool {
	c, err := js.Consumer(t.Context(), "ORDERS", consumer)
	return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
}

// order is a payload that no JSON library writes back as it is.
func order(n int) []byte { return fmt.Appendf(nil, `{"order": %d, "total":129.50, "name":"Zoë"}`, n) }

// check sends what a receiver must take once, and what it must refuse.
func (p *program) check(t *testing.T, secret string) {
	now, body := time.Now(), order(1017)
	handled, repeated := p.count("handled"), p.count("duplicate")
	for _, tt := range []struct {
		name         string
		signed, sent []byte
		at           time.Time
		want         int
	}{
		{"tampered", body, bytes.Replace(body, []byte("129"), []byte("130"), 1), now, http.StatusUnauthorized},
		{"old", body, body, now.Add(-6 * time.Minute), http.StatusUnauthorized},
		{"from the future", body, body, now.Add(6 * time.Minute), http.StatusUnauthorized},
		{"written again", body, []byte(`{"order":1017,"total":129.5,"name":"Zoë"}`), now, http.StatusUnauthorized},
		{"good", body, body, now, http.StatusNoContent},
		{"the same again", body, body, now, http.StatusNoContent},
		{"another kind of JSON", []byte(`[1017]`), []byte(`[1017]`), now, http.StatusNoContent}, // the same id: a duplicate
		{"no JSON", []byte(`order=1017`), []byte(`order=1017`), now, http.StatusUnprocessableEntity},
	} {
		signature, err := webhook.Sign(secret, "msg_1", tt.at, tt.signed)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.post(t, tt.sent, tt.at, signature); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := p.post(t, body, now, ""); got != http.StatusUnauthorized {
		t.Errorf("not signed: got %d, want 401", got)
	}
	testkit.Eventually(t, func() bool {
		return p.count("refused") == 5 && p.count("handled") == handled+1 && p.count("duplicate") == repeated+2
	}, "five refused, one handled, two repeated")
}

func (p *program) post(t *testing.T, body []byte, at time.Time, signature string) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url(t), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Relay-Subject": "orders.direct", "Webhook-Id": "msg_1",
		"Webhook-Timestamp": strconv.FormatInt(at.Unix(), 10), "Webhook-Signature": signature,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// runTool runs a tool to its end.
func runTool(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// program is a process that the test's end kills, and what it printed.
type program struct {
	mu     sync.Mutex
	output bytes.Buffer
}

func start(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	p := &program{}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s %s\n%s", name, strings.Join(args, " "), p)
		}
	})
	return p
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *program) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// count is how many lines begin with the text.
func (p *program) count(prefix string) int { return strings.Count("\n"+p.String(), "\n"+prefix) }

var receiving = regexp.MustCompile(`receiving on (http://\S+)`)

// url waits until the receiver has said where it is.
func (p *program) url(t *testing.T) (url string) {
	testkit.Eventually(t, func() bool {
		if m := receiving.FindStringSubmatch(p.String()); m != nil {
			url = m[1]
		}
		return url != ""
	}, "the receiver to say where it is")
	return url
}

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

// What only the servers know is told at its place in the file, with the cure.
func TestValidateLive(t *testing.T) {
	s := testkit.NATS(t)
	js := s.JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "relay-foreign"}); err != nil {
		t.Fatal(err)
	}
	good := writeRoutes(t, `
defaults: { stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "http://127.0.0.1:9" } }
routes: [{ name: good }]
`)
	if code, stdout, stderr := command(t, "", "validate", "--live", "--nats", s.URL, good); code != exitDone || !strings.Contains(stdout, "valid: 1 route,") {
		t.Errorf("a good file: exit %d, %s%s", code, stdout, stderr)
	}
	bad := func(name, route, want string) {
		t.Run(name, func(t *testing.T) {
			file := writeRoutes(t, `
defaults: { stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "http://127.0.0.1:9" } }
routes:
  - %s
`, route)
			if code, stdout, stderr := command(t, "", "validate", file); code != exitDone {
				t.Fatalf("without --live: exit %d, %s%s", code, stdout, stderr)
			}
			code, stdout, stderr := command(t, "", "validate", "--live", "--nats", s.URL, file)
			if code != exitWrong || !strings.Contains(stdout, strings.ReplaceAll(want, "FILE", file)) {
				t.Errorf("exit %d, want 1 and %q in\n%s%s", code, want, stdout, stderr)
			}
		})
	}
	bad("stream", `{ name: a, stream: ORDRES }`, `FILE:4:24: routes[0] "a": stream: a stream is under streams:, or on the servers (nats stream add creates it), got "ORDRES", did you mean "ORDERS"?`)
	bad("filter", `{ name: a, filter_subjects: [ordres.created] }`, `did you mean "orders.created"?`)
	bad("consumer", `{ name: a, consumer: { durable: relay-foreign } }`, `FILE:4:5: route "a": consumer "relay-foreign" is there and is not managed by relay`)
	bad("secret", `{ name: a, webhook: { signing: { secrets: [{ env: RELAY_TEST_NOT_SET }] } } }`, "environment variable RELAY_TEST_NOT_SET is not set")
	bad("host", `{ name: a, webhook: { url: "http://no-such-host.invalid/" } }`, `route "a": the host of the webhook has an address:`)

	code, _, stderr := command(t, "", "validate", "--live", "--nats", "nats://127.0.0.1:1", good)
	if code != exitUsage || !strings.Contains(stderr, "127.0.0.1:1") {
		t.Errorf("no server: exit %d, %s", code, stderr)
	}
}

// A NATS user that may not do what relay does is told so by subject, before anything
// is asked that would not be answered.
func TestValidateLivePermissions(t *testing.T) {
	s := testkit.NATS(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "relay", Password: "pw", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"$JS.>", "$SYS.REQ.USER.INFO", "relay.>"}, Deny: []string{"$JS.ACK.>"}},
		}}}
	})
	file := writeRoutes(t, `
routes: [{ name: a, stream: ORDERS, filter_subjects: [orders.>], webhook: { url: "http://127.0.0.1:9" } }]
`)
	code, stdout, stderr := command(t, "", "validate", "--live", "--nats", strings.Replace(s.URL, "nats://", "nats://relay:pw@", 1), file)
	want := `route "a": the NATS user may publish what relay publishes, got no permission for $JS.ACK.ORDERS.relay-a.>, $JS.ACK.RELAY_REPLAY.relay-replay-a.>, dlq.a.>`
	if code != exitWrong || !strings.Contains(stdout, want) {
		t.Errorf("exit %d, want 1 and %q in\n%s%s", code, want, stdout, stderr)
	}
}

// Standard input is read once and checked twice.
func TestValidateLiveStdin(t *testing.T) {
	s := testkit.NATS(t)
	var out strings.Builder
	in := strings.NewReader("routes: [{ name: a, stream: LOST, filter_subjects: [a.>], webhook: { url: 'http://127.0.0.1:9' } }]\n")
	code := run(t.Context(), []string{"validate", "--live", "--nats", s.URL, "-"}, in, &out, os.Stderr)
	if code != exitWrong || !strings.Contains(out.String(), `got "LOST"`) {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"relay/internal/testkit"
	"relay/internal/webhook"
)

// command carries out one command line in this process.
func command(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// What is called wrongly, or cannot be had, is said in one line that names it and how
// to mend it, with exit code 2; what is wrong in itself, with exit code 1.
func TestBadInput(t *testing.T) {
	good := writeRoutes(t, ordersRoute, "http://127.0.0.1:1")
	bad := writeRoutes(t, "version: 1\nroutes:\n  - name: x\n    steam: ORDERS\n")
	server, users := testkit.NATS(t), natsWithUsers(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sqlite := "sqlite:" + t.TempDir() + "/relay.db"
	base := []string{"run", "--admin", "127.0.0.1:0"}
	for name, tt := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no routes file":         {append(base, "--database", sqlite), 2, []string{"--routes", "RELAY_ROUTES"}},
		"missing routes file":    {append(base, "--database", sqlite, "--routes", "/nowhere.yaml"), 2, []string{"/nowhere.yaml"}},
		"invalid routes file":    {append(base, "--database", sqlite, "--routes", bad), 1, []string{"routes.yaml:4", "steam", "stream"}},
		"no database":            {append(base, "--routes", good), 2, []string{"--database", "--embedded"}},
		"wrong database":         {append(base, "--routes", good, "--nats", "nats://127.0.0.1:1", "--database", "mysql://user:hunter2@db/x"), 2, []string{"postgres://", "sqlite:"}},
		"wrong NATS scheme":      {append(base, "--routes", good, "--database", sqlite, "--nats", "http://user:hunter2@127.0.0.1:4222"), 2, []string{"http", "nats://"}},
		"wrong credentials":      {append(base, "--routes", good, "--database", sqlite, "--nats", users), 2, []string{"127.0.0.1", "credentials"}},
		"admin port in use":      {append([]string{"run"}, "--routes", good, "--database", sqlite, "--admin", taken.Addr().String()), 2, []string{taken.Addr().String(), "--admin"}},
		"admin for everybody":    {append([]string{"run"}, "--routes", good, "--database", sqlite, "--admin", "0.0.0.0:0"), 2, []string{"--admin-insecure"}},
		"NATS port in use":       {append(base, "--routes", good, "--embedded", "--data", t.TempDir(), "--nats-port", port(taken)), 2, []string{port(taken), "--nats-port"}},
		"data is a file":         {append(base, "--routes", good, "--embedded", "--data", file), 2, []string{"--data", file}},
		"embedded without data":  {append(base, "--routes", good, "--embedded"), 2, []string{"--data"}},
		"embedded and NATS":      {append(base, "--routes", good, "--embedded", "--data", t.TempDir(), "--nats", "nats://x"), 2, []string{"--nats"}},
		"log format":             {append(base, "--routes", good, "--database", sqlite, "--log-format", "xml"), 2, []string{"--log-format", "xml"}},
		"health limit of none":   {append(base, "--routes", good, "--database", sqlite, "--health-pending", "0"), 2, []string{"--health-pending"}},
		"health limit, no share": {append(base, "--routes", good, "--database", sqlite, "--health-redelivered", "10"), 2, []string{"--health-redelivered", "up to 1"}},
		"unknown command":        {[]string{"rum"}, 2, []string{"rum", "--help"}},
		"unknown flag":           {[]string{"run", "--ruotes", "x"}, 2, []string{"--ruotes", "--help"}},
		"validate: invalid":      {[]string{"validate", bad}, 1, []string{"routes.yaml:4:5", "steam"}},
		"validate: missing":      {[]string{"validate", "/nowhere.yaml"}, 2, []string{"/nowhere.yaml"}},
		"send: no stream":        {[]string{"send", "nobody.listens", "--nats", server.URL}, 1, []string{"nobody.listens", "streams:"}},
		"send: no server":        {[]string{"send", "x", "--nats", "nats://127.0.0.1:1"}, 2, []string{"127.0.0.1:1"}},
		"send: bad header":       {[]string{"send", "x", "-H", "nonsense", "--nats", server.URL}, 2, []string{"-H", "nonsense"}},
		"test: no such route":    {[]string{"test", "biling", "--routes", good}, 2, []string{"biling", "billing"}},
		"verify: no secret":      {[]string{"verify", "-"}, 2, []string{"--secret", "RELAY_SECRET"}},
		"verify: bad header":     {[]string{"verify", "-", "--secret", "x", "-H", "nonsense"}, 2, []string{"-H", "nonsense"}},
		"receive: bad status":    {[]string{"receive", "--status", "42"}, 2, []string{"--status"}},
		"migrate: no database":   {[]string{"migrate", "up"}, 2, []string{"--database"}},
		"health: not there":      {[]string{"health", "--admin", "http://ops:hunter2@127.0.0.1:1"}, 1, []string{"127.0.0.1:1"}},
		"health: somebody else":  {[]string{"health", "--admin", testkit.NewReceiver(t, nil).URL}, 1, []string{"admin address"}},
		"run: standard input":    {append(base, "--routes", "-", "--database", sqlite), 2, []string{"--routes", "standard input"}},
		"data, not embedded":     {append(base, "--routes", good, "--database", sqlite, "--data", t.TempDir()), 2, []string{"--data", "--embedded"}},
		"embedded and creds":     {append(base, "--routes", good, "--embedded", "--data", t.TempDir(), "--nats-creds", file), 2, []string{"--nats-creds", "--embedded"}},
		"validate: not live":     {[]string{"validate", good, "--nats-context", "x"}, 2, []string{"--nats-context", "--live"}},
		"no such subcommand":     {[]string{"migrate", "upp", "--database", sqlite}, 2, []string{`"upp"`, "up", "status"}},
		"no subcommand":          {[]string{"migrate", "--database", sqlite}, 2, []string{"relay migrate", "up", "status"}},
		"dlq: no such command":   {[]string{"dlq", "lst"}, 2, []string{`"lst"`, "list"}},
		"dlq: not there":         {[]string{"dlq", "list", "--admin", "http://ops:hunter2@127.0.0.1:1"}, 2, []string{"127.0.0.1:1", "--admin"}},
		"dlq: limit below 0":     {[]string{"dlq", "list", "--limit", "-1", "--admin", "127.0.0.1:1"}, 2, []string{"--limit", "-1"}},
		"dlq: ids and a limit":   {[]string{"dlq", "discard", "a", "b", "--limit", "1", "--admin", "127.0.0.1:1"}, 2, []string{"--limit", "exclude"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, "", tt.args...)
			text := stdout + stderr
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("the text does not name %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "goroutine ") || strings.Contains(text, "hunter2") {
				t.Errorf("a stack trace or a password:\n%s", text)
			}
			// The mistakes of a routes file take lines of their own, and so does the
			// pointer to the help after a flag that is none.
			if lines := strings.Count(strings.TrimSpace(text), "\n") + 1; lines > 2 && tt.code == exitUsage && name != "unknown command" {
				t.Errorf("%d lines:\n%s", lines, text)
			}
		})
	}
}

// What no flag says, the environment does.
func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env, value, args, want string
	}{
		{"RELAY_ROUTES", "/from/env", "plan", "/from/env"},
		{"RELAY_ROUTES", "/from/env", "routes show", "/from/env"},
		{"RELAY_NATS_URL", "nats://127.0.0.1:1", "send x", "127.0.0.1:1"},
		{"RELAY_DATABASE_URL", "mysql://from.env", "migrate status", "sqlite:"},
		{"RELAY_ADMIN_ADDR", "127.0.0.1:1", "health", "127.0.0.1:1"},
		{"RELAY_ADMIN_ADDR", "127.0.0.1:1", "dlq list", "127.0.0.1:1"},
		{"RELAY_ADMIN_ADDR", "127.0.0.1:1", "dlq list --admin 127.0.0.1:2", "127.0.0.1:2"},
		{"RELAY_SECRET", "whpk_from_env", "verify -", "does not hold"},
	} {
		t.Run(tt.env+" "+tt.args, func(t *testing.T) {
			t.Setenv(tt.env, tt.value)
			if _, stdout, stderr := command(t, "", strings.Fields(tt.args)...); !strings.Contains(stdout+stderr, tt.want) {
				t.Errorf("%q is missing in %s%s", tt.want, stdout, stderr)
			}
		})
	}
}

func port(ln net.Listener) string {
	_, p, _ := net.SplitHostPort(ln.Addr().String())
	return p
}

func TestVersion(t *testing.T) {
	code, stdout, _ := command(t, "", "version")
	if code != 0 || !regexp.MustCompile(`^relay \S+ \(go`).MatchString(stdout) {
		t.Errorf("exit %d, %q", code, stdout)
	}
}

func TestValidate(t *testing.T) {
	yaml := fmt.Sprintf(ordersRoute, "http://127.0.0.1:9000/hook")
	if code, stdout, stderr := command(t, yaml, "validate", "-"); code != 0 || !strings.Contains(stdout, "valid: 1 route") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	code, stdout, _ := command(t, strings.Replace(yaml, "max_attempts", "max_atempts", 1), "validate", "--format", "github", "-")
	if code != 1 || !strings.Contains(stdout, "::error file=") || !strings.Contains(stdout, "max_attempts") {
		t.Errorf("exit %d, %s", code, stdout)
	}
}

func TestMigrate(t *testing.T) {
	for name, database := range map[string]string{"postgres": testkit.Postgres(t), "sqlite": "sqlite:" + t.TempDir() + "/relay.db"} {
		t.Run(name, func(t *testing.T) {
			if code, stdout, stderr := command(t, "", "migrate", "status", "--database", database); code != 1 || !strings.Contains(stdout, "relay migrate up") {
				t.Errorf("status before: exit %d, %s%s", code, stdout, stderr)
			}
			if code, stdout, stderr := command(t, "", "migrate", "up", "--database", database); code != 0 || !strings.Contains(stdout, "up to date") {
				t.Errorf("up: exit %d, %s%s", code, stdout, stderr)
			}
			if code, stdout, stderr := command(t, "", "migrate", "status", "--database", database); code != 0 || !strings.Contains(stdout, "up to date") {
				t.Errorf("status after: exit %d, %s%s", code, stdout, stderr)
			}
		})
	}
}

// send publishes what it is told; a running relay brings it to a receiver that fails
// first, verifies signatures and counts what comes twice.
func TestSendAndReceive(t *testing.T) {
	h := newHouse(t)
	secret := webhook.NewSecret()
	t.Setenv("ORDERS_WHSEC", secret)
	receiver := relay(t, "receive", "127.0.0.1:0", "--fail-first", "2", "--secret", secret)
	var url string
	testkit.Eventually(t, func() bool {
		m := regexp.MustCompile(`receiving on (\S+)`).FindStringSubmatch(receiver.stdout.String())
		if m != nil {
			url = m[1]
		}
		return m != nil
	}, "the receiver to say where it is")
	routes := writeRoutes(t, strings.Replace(ordersRoute, `webhook: {`, `webhook: { signing: { secrets: [{ env: ORDERS_WHSEC }] },`, 1), url)
	p := h.run(routes)
	p.admin()
	h.publish(0, 0)
	payload := filepath.Join(t.TempDir(), "order.json")
	if err := os.WriteFile(payload, []byte(`{"total":12}`), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "", "send", "orders.created", payload, "-H", "Event-Type: order", "--nats", h.nats.URL)
	if code != 0 || !strings.Contains(stdout, "stored in stream ORDERS up to sequence 1") {
		t.Fatalf("send: exit %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := command(t, `{"total":13}`, "send", "orders.created", "-", "--count", "3", "--nats", h.nats.URL); code != 0 {
		t.Fatalf("send: exit %d, %s", code, stderr)
	}
	h.awaitSettled("relay-billing")
	receiver.signal(syscall.SIGINT)
	if code := receiver.wait(); code != 0 {
		t.Errorf("receive: exit code %d", code)
	}
	got := receiver.stdout.String()
	for what, n := range map[string]int{"→ 503": 8, "→ 204": 4, "signature ok": 12, "attempt 3": 4} {
		if strings.Count(got, what) != n {
			t.Errorf("%q stands %d times, want %d:\n%s", what, strings.Count(got, what), n, got)
		}
	}
	if !strings.Contains(got, "12 requests, 4 deliveries, 0 repeated after a success") {
		t.Errorf("the sum is missing:\n%s", got)
	}
}

func TestReceiveRefusesAWrongSignature(t *testing.T) {
	r := &receiver{status: http.StatusNoContent, secret: webhook.NewSecret(), seen: map[string]int{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(ctx, ln, r) }()
	if status, _ := post(t, "http://"+ln.Addr().String(), "{}"); status != http.StatusUnauthorized {
		t.Errorf("got %d, want 401", status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Everything in one process: within seconds there are deliveries, retries and dead
// letters, and a replay of one reaches its receiver.
func TestDev(t *testing.T) {
	data := t.TempDir()
	p := relay(t, "dev", "--data", data, "--nats-port", "-1", "--admin", "127.0.0.1:0", "--every", "0")
	admin := p.admin()
	for _, want := range []string{"NOT for production", admin, "nats://127.0.0.1:", data, filepath.Join(data, "routes.yaml"), "send --sample github.push", "/dead-letters"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("the banner does not say %q:\n%s", want, p.stdout)
		}
	}
	line := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}  issues-to-tracker +github\.issues +#3 +204 +\S+ +ack$`)
	testkit.Eventually(t, func() bool { return line.MatchString(p.stdout.String()) }, "a message that is retried and then delivered")
	var dead []deadLetter
	testkit.Eventually(t, func() bool {
		status, _ := get(t, admin+"/readyz")
		if status != http.StatusOK {
			return false
		}
		dead = deadLetters(t, admin, "")
		return len(dead) == 2
	}, "one message refused and one exhausted")
	reasons := map[string]string{}
	for _, d := range dead {
		reasons[d.Route] = d.Reason
	}
	if reasons["releases-to-deploy"] != "rejected" || reasons["stars-to-stats"] != "exhausted" {
		t.Errorf("got %v", reasons)
	}
	if status, body := get(t, admin+"/"); status != http.StatusOK || !bytes.Contains(body, []byte("issues-to-tracker")) {
		t.Errorf("the overview says %d", status)
	}
	for _, d := range dead {
		if d.Route == "stars-to-stats" {
			if status, body := post(t, admin+"/api/v1/dead-letters/"+d.ID+"/replay", "{}"); status != http.StatusAccepted {
				t.Fatalf("replay: %d %s", status, body)
			}
		}
	}
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "state=delivered")) == 1 }, "the replay to be delivered")
	if _, body := get(t, admin+"/metrics"); !bytes.Contains(body, []byte(`relay_deliveries_total{outcome="ack",route="issues-to-tracker"}`)) {
		t.Error("/metrics does not count deliveries")
	}
	p.signal(os.Interrupt)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A routes file of somebody's own need not have the streams of the samples; and a terminal
// that is closed ends relay dev as Ctrl-C does.
func TestDevWithoutSamples(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "routes.yaml"), fmt.Appendf(nil, ordersRoute, "http://127.0.0.1:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := relay(t, "dev", "--data", data, "--nats-port", "-1", "--admin", "127.0.0.1:0", "--every", "1ms")
	p.admin()
	testkit.Eventually(t, func() bool { return p.ended() || strings.Contains(p.stdout.String(), "no sample traffic") }, "relay to say that there is no sample traffic")
	p.signal(syscall.SIGHUP)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// natsWithUsers is the URL of a server with a password that is not the server's.
func natsWithUsers(t *testing.T) string {
	t.Helper()
	s := testkit.NATS(t, func(o *server.Options) { o.Username, o.Password = "relay", "correct" })
	return strings.Replace(s.URL, "nats://", "nats://relay:hunter2@", 1)
}

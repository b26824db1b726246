package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// diagnosis is what doctor's JSON says.
type diagnosis struct {
	Level  level
	Checks []finding
}

func diagnose(t *testing.T, wantCode int, args ...string) diagnosis {
	t.Helper()
	code, stdout, stderr := command(t, "", append([]string{"doctor", "--format", "json"}, args...)...)
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || code != wantCode {
		t.Fatalf("exit %d, want %d: %v\n%s%s", code, wantCode, err, stdout, stderr)
	}
	for _, f := range d.Checks {
		if f.Level == levelOK != (f.Mend == "") && f.Check != "routes" {
			t.Errorf("%+v: what is not well says how to mend it, and only that", f)
		}
	}
	return d
}

// wants fails the test unless there is such a finding.
func (d diagnosis) wants(t *testing.T, check string, l level, text string) {
	t.Helper()
	for _, f := range d.Checks {
		if f.Check == check && f.Level == l && strings.Contains(f.Text, text) {
			return
		}
	}
	t.Errorf("no finding %s %s %q in\n%+v", l, check, text, d.Checks)
}

// What is well is said to be; what somebody broke since is named, each with its cure.
func TestDoctor(t *testing.T) {
	s := testkit.NATS(t, func(o *server.Options) { o.SyncAlways, o.HTTPHost, o.HTTPPort = true, "127.0.0.1", server.RANDOM_PORT })
	js, database := s.JetStream(t), testkit.Postgres(t)
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:9")
	args := []string{"--routes", file, "--nats", s.URL, "--database", database, "--nats-monitor", s.MonitorURL()}

	d := diagnose(t, exitDone, args...)
	for _, w := range []struct {
		check string
		level level
		text  string
	}{
		{"nats", levelOK, "nats-server " + server.VERSION}, {"permission", levelOK, "calls that change nothing were tried"},
		{"jetstream", levelOK, "JetStream is on"}, {"sync", levelOK, "always"}, {"routes", levelOK, "1 route; 8 streams or consumers"},
		{"projection", levelOK, "no relay"}, {"webhooks", levelOK, "addresses"}, {"database", levelWarn, "may do anything"},
		{"schema", levelWarn, "version 0 of"}, {"clock", levelOK, "database"}, {"retention", levelOK, "a week"},
	} {
		d.wants(t, w.check, w.level, w.text)
	}

	store, err := dlqstore.Open(t.Context(), database, dlqstore.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: "ORDERS", Subjects: []string{"orders.>"}, Storage: jetstream.MemoryStorage, MaxBytes: 1000},
		{Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}, Duplicates: time.Minute},
	} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for range 22 { // more than fit into 80 %
		if _, err := js.Publish(t.Context(), "orders.created", make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(t.Context(), "dlq.billing.orders.created", nil); err != nil {
		t.Fatal(err)
	}
	for stream, c := range map[string]jetstream.ConsumerConfig{
		"ORDERS":    {Durable: "relay-gone", Metadata: map[string]string{"relay.route": "gone"}},
		"RELAY_DLQ": {Durable: dlqstore.ProjectorConsumer, AckPolicy: jetstream.AckExplicitPolicy},
	} {
		if _, err := js.CreateConsumer(t.Context(), stream, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "relay-billing"}); err != nil {
		t.Fatal(err)
	}
	d = diagnose(t, exitWrong, append(args[:len(args)-2], "--database", database)...)
	for _, w := range []struct {
		check string
		level level
		text  string
	}{
		{"sync", levelWarn, "is not known"}, {"routes", levelFail, `stream "ORDERS": JetStream cannot change a stream so (storage: memory → file`},
		{"routes", levelFail, `consumer "relay-billing" is there and is not managed by relay`},
		{"orphans", levelWarn, `consumer "relay-gone" of stream "ORDERS" is left of route "gone"`},
		{"stream", levelWarn, "ORDERS: it is kept in memory"}, {"stream", levelWarn, "of at most 1000 bytes"},
		{"stream", levelWarn, "RELAY_DLQ: when it is full it throws dead letters away"}, {"stream", levelWarn, "for 1m0s only"},
		{"clock", levelOK, "the clock of the NATS server agrees"}, {"stream", levelWarn, "RELAY_DLQ: one replica"},
		{"projection", levelWarn, "1 dead letters and attempts are not in the database, and no relay"}, {"schema", levelOK, "the newest"},
	} {
		d.wants(t, w.check, w.level, w.text)
	}

	code, stdout, _ := command(t, "", append([]string{"doctor"}, args...)...)
	if code != exitWrong || !strings.Contains(stdout, "\nwarn  orphans      consumer") || !strings.Contains(stdout, "→ relay plan --prune") {
		t.Errorf("exit %d, the text:\n%s", code, stdout)
	}
	d = diagnose(t, exitWrong, "--routes", file, "--nats", "nats://127.0.0.1:1", "--database", "postgres://nobody:hunter2@127.0.0.1:1/x")
	d.wants(t, "nats", levelFail, "127.0.0.1:1")
	d.wants(t, "database", levelFail, "127.0.0.1:1")
	if text := fmt.Sprint(d); strings.Contains(text, "hunter2") {
		t.Errorf("a password comes out: %s", text)
	}
}

// A clock that is off is told by how much.
func TestDoctorSkew(t *testing.T) {
	now := time.Now()
	for theirs, want := range map[time.Duration]level{
		0: levelOK, 2 * time.Second: levelOK, -10 * time.Second: levelWarn, 10 * time.Second: levelWarn, -2 * time.Minute: levelFail, 2 * time.Minute: levelFail,
	} {
		var d doctor
		d.skew("the database", now, now.Add(theirs), now)
		if d.findings[0].Level != want {
			t.Errorf("%s off: %+v, want %s", theirs, d.findings, want)
		}
	}
}

// leastUser starts a server on which the user relay may do just what doctor prints for
// the routes, and returns it with the user's URL.
func leastUser(t *testing.T, file string, without ...string) (*testkit.Server, string) {
	t.Helper()
	code, stdout, stderr := command(t, "", "doctor", "--nats-permissions", "--routes", file)
	if code != exitDone {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	for _, line := range without {
		if !strings.Contains(stdout, line) {
			t.Fatalf("%s is not among\n%s", line, stdout)
		}
		stdout = strings.Replace(stdout, line, "", 1)
	}
	conf := filepath.Join(t.TempDir(), "nats.conf")
	text := "authorization: { users: [ { user: boss, password: pw }, { user: relay, password: pw\n" + stdout + "} ] }\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatalf("nats-server reads what doctor prints: %v\n%s", err, text)
	}
	s := testkit.NATS(t, func(o *server.Options) { o.Users = parsed.Users })
	return s, strings.Replace(s.URL, "nats://", "nats://relay:pw@", 1)
}

// With the permissions that doctor prints, and no other, relay does everything: it makes
// its streams, delivers, tries again, parks, projects, replays, pauses, keeps what
// JetStream gave up, and goes on after a kill.
func TestLeastPermissions(t *testing.T) {
	file := writeRoutes(t, strings.Replace(ordersRoute, "concurrency: 4", "concurrency: 1", 1)+`
  - name: audit
    stream: ORDERS
    filter_subjects: [orders.audit]
    consumer: { type: push, deliver_subject: deliver.audit, deliver_group: relay }
    dead_letter: { stream: AUDIT_DLQ, subject_prefix: auditdlq }
    webhook: { url: "%[1]s" }
`, "URL")
	receiver := testkit.NewReceiver(t, nil)
	var refuse, retry = true, true
	receiver.Answer(func(w http.ResponseWriter, q testkit.Request) {
		switch string(q.Body) {
		case "dead":
			if refuse {
				refuse = false
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		case "taken":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "retry":
			if retry {
				retry = false
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	})
	yaml, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(yaml), "URL", receiver.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, url := leastUser(t, file)
	js, err := jetstream.New(s.Conn(t, nats.UserInfo("boss", "pw")))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, nats: s, js: js, database: testkit.Postgres(t)}
	start := func() (*process, string) {
		p := relay(t, "run", "--routes", file, "--nats", url, "--database", h.database, "--admin", "127.0.0.1:0", "--log-level", "debug", "--drain", "1ms")
		admin := p.admin()
		testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "relay to be ready")
		return p, admin
	}
	send := func(subject, body string) {
		if _, err := js.Publish(t.Context(), subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	p, admin := start()
	h.publish(0, 3)
	send("orders.audit", "audit")
	send("orders.created", "retry")
	send("orders.created", "dead")
	var dead []deadLetter
	testkit.Eventually(t, func() bool { dead = deadLetters(t, admin, "state=dead"); return len(dead) == 1 }, "the dead letter in the table")
	if status, body := post(t, admin+"/api/v1/dead-letters/"+dead[0].ID+"/replay", "{}"); status != http.StatusAccepted {
		t.Fatalf("replay: %d %s", status, body)
	}
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "state=delivered")) == 1 }, "the replay to be delivered")
	for _, do := range []string{"pause", "resume"} {
		if status, body := post(t, admin+"/api/v1/routes/billing/"+do, "{}"); status >= 300 {
			t.Errorf("%s: %d %s", do, status, body)
		}
	}
	c, err := js.Consumer(t.Context(), "ORDERS", "relay-billing")
	if err != nil {
		t.Fatal(err)
	}
	changed := c.CachedInfo().Config
	changed.MaxDeliver = 1
	if _, err := js.UpdateConsumer(t.Context(), "ORDERS", changed); err != nil {
		t.Fatal(err)
	}
	send("orders.created", "taken")
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "state=dead")) == 1 }, "the message that JetStream gave up to be kept")
	if code, stdout, stderr := command(t, "", "dlq", "rebuild", "--admin", admin); code != exitDone {
		t.Errorf("rebuild: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := command(t, "", "doctor", "--routes", file, "--nats", url, "--database", h.database); code != exitDone {
		t.Errorf("doctor as that user: exit %d\n%s%s", code, stdout, stderr)
	}
	p.signal(os.Kill)
	p.wait()
	after, _ := start()
	h.publish(10, 2)
	h.awaitSettled("relay-billing")
	testkit.Eventually(t, func() bool { return bodies(receiver)["audit"] > 0 && bodies(receiver)["11"] > 0 }, "what came after the restart")
	for _, p := range []*process{p, after} {
		if log := p.stderr.String(); strings.Contains(log, "permission") || strings.Contains(log, "Permissions") {
			t.Errorf("a permission is missing\n%s", log)
		}
	}
}

// A permission that is missing is named: by the server's own word, and, where it gives
// none, by trying.
func TestDoctorNamesWhatIsDenied(t *testing.T) {
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:9")
	_, url := leastUser(t, file, `"dlq.billing.>"`, `"$JS.ACK.ORDERS.relay-billing.>"`)
	d := diagnose(t, exitWrong, "--routes", file, "--nats", url, "--database", "sqlite:"+t.TempDir()+"/none.db")
	d.wants(t, "permission", levelFail, `route "billing": the NATS user may publish what relay publishes, got no permission for $JS.ACK.ORDERS.relay-billing.>, dlq.billing.>`)
	d.wants(t, "database", levelOK, "is not there yet")

	_, url = leastUser(t, file, `"$SYS.REQ.USER.INFO"`, `"$JS.API.CONSUMER.LIST.*"`)
	d = diagnose(t, exitWrong, "--routes", file, "--nats", url)
	d.wants(t, "permission", levelFail, "the server refused $JS.API.CONSUMER.LIST.ORDERS")
}

func TestDoctorRefuses(t *testing.T) {
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:9")
	for want, args := range map[string][]string{
		"--format":     {"--routes", file, "--format", "xml"},
		"--routes":     {},
		"unknown flag": {"--live"},
	} {
		if code, _, stderr := command(t, "", append([]string{"doctor"}, args...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, want 2 and %q: %s", args, code, want, stderr)
		}
	}
}

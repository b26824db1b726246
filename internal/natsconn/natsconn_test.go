package natsconn_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"relay/internal/natsconn"
	"relay/internal/testkit"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"nats://127.0.0.1:4222":                          "nats://127.0.0.1:4222",
		"nats://ann:hunter2@nats.example.com":            "nats://nats.example.com",
		"nats://hunter2@a:4222, tls://u:p@b:4222":        "nats://a:4222,tls://b:4222",
		"ann:hunter2@nats.example.com:4222":              "nats.example.com:4222",
		"nats://ann:hunt@er%2@a:4222":                    "nats://a:4222",
		"ws://a:443/path?token=hunter2":                  "ws://a:443/path",
		"nats://ann:50%off@bad host":                     "nats://bad host",
		"":                                               "",
		"nats://[::1]:4222":                              "nats://[::1]:4222",
		"http://ann:hunter2@10.0.0.1:80#fragment?hunter": "http://10.0.0.1:80#fragment",
	} {
		if got := natsconn.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// Nobody listens at these, so that a mistake that is not found at once shows as
// another error, or as a test that waits.
func TestMistakesAreFoundAtOnce(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.MkdirAll(filepath.Join(dir, "nats", "context"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CONFIG_HOME", dir)
	file("nats/context/broken.json", `{"url": `)
	file("nats/context/number.json", `{"url": 4222}`)
	file("nats/context/domain.json", `{"url": "nats://127.0.0.1:1", "jetstream_domain": "hub"}`)
	empty := file("empty", "")

	tests := []struct {
		name    string
		options natsconn.Options
		want    string
	}{
		{"scheme", natsconn.Options{URL: "http://ann:hunter2@a:80"},
			`NATS URL "http://a:80": the scheme is nats, tls, ws or wss, as in nats://127.0.0.1:4222`},
		{"second of a list", natsconn.Options{URL: "nats://a,redis://b"}, `NATS URL "redis://b": the scheme is nats,`},
		{"no host", natsconn.Options{URL: "nats://"}, `NATS URL "nats://": a host is missing`},
		{"no URL", natsconn.Options{URL: "nats://ann:hunter2%@a:4222"}, `NATS URL "nats://a:4222": is not a URL;`},
		{"creds missing", natsconn.Options{Creds: dir + "/none"}, "read NATS credentials: open " + dir + "/none: no such file"},
		{"creds empty", natsconn.Options{Creds: empty}, `no user seed in it`},
		{"nkey empty", natsconn.Options{NKey: empty}, `read NATS nkey file "` + empty + `": `},
		{"creds and nkey", natsconn.Options{Creds: empty, NKey: empty}, "not both"},
		{"certificate without key", natsconn.Options{TLSCert: empty}, "give the certificate and its key together"},
		{"certificate empty", natsconn.Options{TLSCert: empty, TLSKey: empty}, "read NATS client certificate"},
		{"authorities empty", natsconn.Options{TLSCA: empty}, "holds no certificate in PEM"},
		{"context unknown", natsconn.Options{Context: "prod"}, `NATS context "prod": there is no ` + dir + `/nats/context/prod.json`},
		{"context is a path", natsconn.Options{Context: "../prod"}, "a name is wanted, not a path"},
		{"context broken", natsconn.Options{Context: "broken"}, "broken.json: unexpected end of JSON input"},
		{"context with a number", natsconn.Options{Context: "number"}, "url cannot be a number"},
		{"context with a domain", natsconn.Options{Context: "domain"}, "relay does not support jetstream_domain"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.options.URL == "" {
				tt.options.URL = "nats://127.0.0.1:1"
			}
			_, err := waitNot(t, tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v\nwant it to hold %s", err, tt.want)
			}
			checkText(t, err)
		})
	}
}

// waitNot is Wait for what is decided at the first try.
func waitNot(t *testing.T, o natsconn.Options) (*nats.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	return natsconn.Wait(ctx, o, func(err error) {
		t.Errorf("waited because of %v", err)
		cancel()
	})
}

// checkText wants one line without the password that these tests use.
func checkText(t *testing.T, err error) {
	t.Helper()
	if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is not one line without secrets: %q", err)
	}
}

func withUser(o *server.Options) { o.Username, o.Password = "ann", "hunter2" }

func TestCredentials(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "relay.nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	byNKey := testkit.NATS(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	byUser := testkit.NATS(t, withUser)
	byToken := testkit.NATS(t, func(o *server.Options) { o.Authorization = "hunter2" })

	tests := []struct {
		name    string
		options natsconn.Options
		ok      bool
	}{
		{"user", natsconn.Options{URL: inURL(byUser, "ann:hunter2")}, true},
		{"wrong password", natsconn.Options{URL: inURL(byUser, "ann:hunter2x")}, false},
		{"none", natsconn.Options{URL: byUser.URL}, false},
		{"token", natsconn.Options{URL: inURL(byToken, "hunter2")}, true},
		{"wrong token", natsconn.Options{URL: inURL(byToken, "hunter2x")}, false},
		{"nkey", natsconn.Options{URL: byNKey.URL, NKey: seedFile}, true},
		{"nkey for a server of users", natsconn.Options{URL: byUser.URL, NKey: seedFile}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nc, err := waitNot(t, tt.options)
			if tt.ok {
				if err != nil {
					t.Fatal(err)
				}
				nc.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), "; check the user and password") {
				t.Fatalf("error = %v, want one that says what to check", err)
			}
			checkText(t, err)
		})
	}
}

func inURL(s *testkit.Server, userinfo string) string {
	return strings.Replace(s.URL, "://", "://"+userinfo+"@", 1)
}

func TestCredsFile(t *testing.T) {
	s, creds := operatorServer(t)
	nc, err := natsconn.Connect(t.Context(), natsconn.Options{URL: s.URL, Creds: creds})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

// operatorServer is a server of an operator with one account, and the credentials file
// of a user of that account.
func operatorServer(t *testing.T) (*testkit.Server, string) {
	t.Helper()
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		kp, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := kp.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return kp, public
	}
	must := func(s string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	account, accountID := pair(nkeys.CreateAccount)
	user, userID := pair(nkeys.CreateUser)
	userJWT := must(jwt.NewUserClaims(userID).Encode(account))
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	creds := filepath.Join(t.TempDir(), "relay.creds")
	if err := os.WriteFile(creds, content, 0o600); err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountID, must(jwt.NewAccountClaims(accountID).Encode(operator))); err != nil {
		t.Fatal(err)
	}
	return testkit.NATS(t, func(o *server.Options) {
		o.TrustedKeys = []string{operatorID}
		o.AccountResolver = resolver
		o.JetStream = false
	}), creds
}

func TestContext(t *testing.T) {
	s := testkit.NATS(t, withUser)
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := filepath.Join(dir, "nats", "context", "prod.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	content := `{"description": "", "url": "` + s.URL + `", "user": "ann", "password": "hunter2", "color_scheme": ""}`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}

	nc, err := natsconn.Connect(t.Context(), natsconn.Options{Context: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	// What the options say themselves wins.
	_, err = natsconn.Connect(t.Context(), natsconn.Options{Context: "prod", URL: inURL(s, "ann:other")})
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("with a wrong password in the URL: %v, want %v", err, nats.ErrAuthorization)
	}
}

func TestTLS(t *testing.T) {
	// net/http/httptest has a certificate for 127.0.0.1 that is its own authority.
	https := httptest.NewTLSServer(nil)
	defer https.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	secure := testkit.NATS(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: https.TLS.Certificates, MinVersion: tls.VersionTLS12}
		o.TLSTimeout = 10
	})
	plain := testkit.NATS(t)

	nc, err := natsconn.Connect(t.Context(), natsconn.Options{URL: secure.URL, TLSCA: ca})
	if err != nil {
		t.Fatal(err)
	}
	if !nc.TLSRequired() {
		t.Error("the connection speaks no TLS")
	}
	nc.Close()

	for _, tt := range []struct {
		name    string
		options natsconn.Options
		want    string
	}{
		{"unknown authority", natsconn.Options{URL: secure.URL}, "; give the authority that signed"},
		{"server without TLS", natsconn.Options{URL: plain.URL, TLSCA: ca}, "; the server speaks no TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := waitNot(t, tt.options)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want it to hold %q", err, tt.want)
			}
			checkText(t, err)
		})
	}
}

func TestWaitUntilTheServerIsThere(t *testing.T) {
	testkit.Leaks(t)
	s := testkit.NATS(t)
	s.Stop()
	waits := 0
	nc, err := natsconn.Wait(t.Context(), natsconn.Options{URL: inURL(s, "ann:hunter2")}, func(err error) {
		if waits++; waits == 1 {
			want := "connect to NATS at " + s.URL + ": nats: no servers available for connection; is the server running, and is this its address?"
			if err.Error() != want {
				t.Errorf("waits because of %q\nwant %q", err, want)
			}
			s.Start(t)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if waits == 0 {
		t.Error("connected without waiting")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := natsconn.Wait(ctx, natsconn.Options{URL: "nats://127.0.0.1:1"}, func(error) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
}

func TestReconnect(t *testing.T) {
	s := testkit.NATS(t)
	ctx, cancel := context.WithCancel(t.Context())
	nc, err := natsconn.Connect(ctx, natsconn.Options{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.MaxReconnect != -1 || !nc.Opts.IgnoreAuthErrorAbort {
		t.Error("the connection gives up in the long run")
	}
	cancel() // bounds the connecting only
	s.Stop()
	testkit.Eventually(t, func() bool { return nc.Status() == nats.RECONNECTING }, "the connection notices")
	s.Start(t)
	testkit.Eventually(t, func() bool { return nc.Status() == nats.CONNECTED }, "the connection is back")
}

func TestPermissionErrors(t *testing.T) {
	s := testkit.NATS(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "ann", Password: "hunter2", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: []string{"dlq.>"}},
			Subscribe: &server.SubjectPermission{Deny: []string{"secret.>"}},
		}}}
	})
	refused := make(chan string, 2)
	nc, err := natsconn.Connect(t.Context(), natsconn.Options{
		URL:               inURL(s, "ann:hunter2"),
		OnPermissionError: func(subject string) { refused <- subject },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("dlq.billing.orders.created", nil); err != nil {
		t.Fatal(err)
	}
	if got := <-refused; got != "dlq.billing.orders.created" {
		t.Errorf("refused publish = %q", got)
	}
	if _, err := nc.SubscribeSync("secret.*"); err != nil {
		t.Fatal(err)
	}
	if got := <-refused; got != "secret.*" {
		t.Errorf("refused subscription = %q", got)
	}
}

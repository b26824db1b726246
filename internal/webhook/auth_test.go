package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(content))
		return path
	}
	empty, text := file("empty", "\n"), file("text", "no PEM at all")
	unset := routes.Secret{Env: "UNSET"}
	tests := []struct {
		name   string
		change func(*routes.Webhook)
		want   string
	}{
		{"not a URL", func(w *routes.Webhook) { w.URL = "http://[::1" }, "webhook.url"},
		{"no scheme", func(w *routes.Webhook) { w.URL = "example.com/hook" }, "webhook.url"},
		{"no host", func(w *routes.Webhook) { w.URL = "http:///hook" }, "webhook.url"},
		{"credentials in the URL", func(w *routes.Webhook) { w.URL = "http://user:pa55@example.com" }, "webhook.auth"},
		{"proxy", func(w *routes.Webhook) { w.Proxy = "ftp://proxy:3128" }, "webhook.proxy"},
		{"header name", func(w *routes.Webhook) { w.Headers = map[string]string{"A B": "c"} }, "webhook.headers"},
		{"header value", func(w *routes.Webhook) { w.Headers = map[string]string{"A": "b\r\nC: d"} }, "webhook.headers"},
		{"reserved header", func(w *routes.Webhook) { w.Headers = map[string]string{"Webhook-Id": "x"} }, "Webhook-Id is set by relay"},
		{"egress mode", func(w *routes.Webhook) { w.Egress.Mode = "open" }, "webhook.egress"},
		{"egress network", func(w *routes.Webhook) { w.Egress.Allow = []string{"10.0.0.1"} }, "webhook.egress.allow"},
		{"secret not set", func(w *routes.Webhook) { w.Signing.Secrets = []routes.Secret{{Env: "WHSEC"}, unset} }, "webhook.signing.secrets[1] (env:UNSET)"},
		{"secret malformed", func(w *routes.Webhook) { w.Signing.Secrets = []routes.Secret{{Env: "PASSWORD"}} }, "whsec_"},
		{"bearer missing", func(w *routes.Webhook) { w.Auth.Bearer = &unset }, "webhook.auth.bearer (env:UNSET)"},
		{"bearer empty", func(w *routes.Webhook) { w.Auth.Bearer = &routes.Secret{File: empty} }, "webhook.auth.bearer (file:"},
		{"bearer of two lines", func(w *routes.Webhook) { w.Auth.Bearer = &routes.Secret{File: file("lines", "a\nb")} }, "HTTP cannot carry"},
		{"password missing", func(w *routes.Webhook) { w.Auth.Basic = &routes.BasicAuth{Username: "u", Password: unset} }, "webhook.auth.basic.password"},
		{"client secret missing", func(w *routes.Webhook) {
			w.Auth.OAuth2 = &routes.OAuth2{TokenURL: "http://127.0.0.1/", ClientSecret: unset}
		}, "webhook.auth.oauth2.client_secret"},
		{"token URL", func(w *routes.Webhook) {
			w.Auth.OAuth2 = &routes.OAuth2{TokenURL: "token", ClientSecret: routes.Secret{Env: "CLIENT"}}
		}, "webhook.auth.oauth2.token_url"},
		{"CA missing", func(w *routes.Webhook) { w.TLS.CAFile = filepath.Join(dir, "none") }, "webhook.tls.ca_file"},
		{"CA is no PEM", func(w *routes.Webhook) { w.TLS.CAFile = text }, "webhook.tls.ca_file"},
		{"certificate without key", func(w *routes.Webhook) { w.TLS.CertFile = text }, "webhook.tls.cert_file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := route("http://127.0.0.1/")
			tt.change(&r.Webhook)
			_, err := webhook.New(r, webhook.Options{LookupEnv: environment})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `route "orders": `) {
				t.Fatalf("err = %v, want %q of the route", err, tt.want)
			}
			if strings.Contains(err.Error(), "pa55") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestAuth(t *testing.T) {
	tests := map[string]routes.Auth{
		"":                               {},
		"Bearer t0ken-of-the-test":       {Bearer: &routes.Secret{Env: "TOKEN"}},
		"Basic dTpwYTU1LW9mLXRoZS10ZXN0": {Basic: &routes.BasicAuth{Username: "u", Password: routes.Secret{Env: "PASSWORD"}}},
	}
	for want, auth := range tests {
		_, h := sendTo(t, func(r *routes.Route) { r.Webhook.Auth = auth }, message())
		if got := h.Get("Authorization"); got != want {
			t.Errorf("Authorization = %q, want %q", got, want)
		}
	}
}

// A receiver that sends back what it got must not bring the credentials into what is
// kept of its answer.
func TestEchoedCredentials(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("you sent " + r.Header.Get("Authorization") + "!"))
	}))
	t.Cleanup(srv.Close)
	r := route(srv.URL)
	r.Webhook.Auth.Bearer = &routes.Secret{Env: "TOKEN"}
	answer := newSender(t, r).Send(context.Background(), message())
	if got := string(answer.Body); got != "you sent Bearer [redacted]!" {
		t.Errorf("body = %q", got)
	}
	if got := answer.Header.Get("Echo"); got != "Bearer [redacted]" {
		t.Errorf("header = %q", got)
	}

	echo := rawReceiver(t, func(p peer) {
		line, _ := p.r.ReadString('\n')
		p.say(line)
	})
	r = route(echo + "/hook?query=t0ken")
	answer = newSender(t, r).Send(context.Background(), message())
	wantClass(t, answer, webhook.ClassMalformed)
}

// tokenServer gives tokens token-1, token-2, …
type tokenServer struct {
	asked   atomic.Int32
	expires atomic.Value // of expires_in, as JSON
	broken  atomic.Value // a whole answer in place of a token: "status body"
	hold    chan struct{}
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.asked.Add(1)
	if s.hold != nil {
		<-s.hold
	}
	id, secret, _ := r.BasicAuth()
	_ = r.ParseForm()
	switch broken, _ := s.broken.Load().(string); {
	case broken != "":
		status, body, _ := strings.Cut(broken, " ")
		w.WriteHeader(map[string]int{"200": 200, "401": 401, "500": 500, "302": 302}[status])
		_, _ = w.Write([]byte(body))
	case id != "id" || secret != "cl1ent-of-the-test" || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "a b":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
	default:
		_, _ = w.Write([]byte(`{"access_token":"token-` + string('0'+n) + `","token_type":"Bearer","expires_in":` + s.expires.Load().(string) + `}`))
	}
}

func oauthRoute(t *testing.T, tokens *tokenServer, receiver http.Handler) routes.Route {
	t.Helper()
	if tokens.expires.Load() == nil {
		tokens.expires.Store("3600")
	}
	ts, srv := httptest.NewServer(tokens), httptest.NewServer(receiver)
	t.Cleanup(ts.Close)
	t.Cleanup(srv.Close)
	r := route(srv.URL)
	r.Concurrency = 8
	r.Webhook.Auth.OAuth2 = &routes.OAuth2{
		TokenURL: ts.URL, ClientID: "id", ClientSecret: routes.Secret{Env: "CLIENT"}, Scopes: []string{"a", "b"},
	}
	return r
}

// echoAuth answers 200 with the request's Authorization.
var echoAuth = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte(r.Header.Get("Authorization")))
})

func TestOAuth2(t *testing.T) {
	t.Run("one token for all", func(t *testing.T) {
		tokens := &tokenServer{hold: make(chan struct{})}
		s := newSender(t, oauthRoute(t, tokens, echoAuth))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if answer := s.Send(context.Background(), message()); string(answer.Body) != "Bearer token-1" {
					t.Errorf("answer = %d %q, %v", answer.Status, answer.Body, answer.Err)
				}
			})
		}
		close(tokens.hold)
		wg.Wait()
		if n := tokens.asked.Load(); n != 1 {
			t.Errorf("%d tokens asked for, want 1", n)
		}
	})
	t.Run("refused by the receiver", func(t *testing.T) {
		tokens := &tokenServer{}
		s := newSender(t, oauthRoute(t, tokens, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer token-1" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})))
		for _, want := range []int{401, 200, 200} {
			if answer := s.Send(context.Background(), message()); answer.Status != want {
				t.Errorf("answer = %d, %v; want %d", answer.Status, answer.Err, want)
			}
		}
		if n := tokens.asked.Load(); n != 2 {
			t.Errorf("%d tokens asked for, want 2", n)
		}
	})
	t.Run("lives as long as it says", func(t *testing.T) {
		for expires, want := range map[string]int32{"3600": 1, `"3600"`: 1, "null": 1, "0": 1, `-5`: 1, "0.000001": 2, "1e99": 1} {
			tokens := &tokenServer{}
			tokens.expires.Store(expires)
			s := newSender(t, oauthRoute(t, tokens, echoAuth))
			for range 2 {
				if answer := s.Send(context.Background(), message()); answer.Status != 200 {
					t.Errorf("expires_in %s: %v", expires, answer.Err)
				}
			}
			if n := tokens.asked.Load(); n != want {
				t.Errorf("expires_in %s: %d tokens asked for, want %d", expires, n, want)
			}
		}
	})
}

func TestOAuth2Failures(t *testing.T) {
	tests := map[string]string{ // answer → part of the error
		`401 {"error":"invalid_client"}`:              "answered 401, invalid_client",
		`401 {"error":"cl1ent-of-the-test"}`:          "answered 401",
		`500 oops cl1ent-of-the-test`:                 "answered 500",
		`302 `:                                        "answered 302",
		`200 not json cl1ent-of-the-test`:             "not the JSON",
		`200 {}`:                                      "no usable access_token",
		`200 {"access_token":"a\nb"}`:                 "no usable access_token",
		`200 {"access_token":"a","token_type":"mac"}`: "not of the type bearer",
		"200 {\"access_token\":\"" + strings.Repeat("a", 100<<10) + `"}`: "not the JSON",
	}
	for broken, want := range tests {
		tokens := &tokenServer{}
		tokens.broken.Store(broken)
		reached := false
		s := newSender(t, oauthRoute(t, tokens, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })))
		answer := s.Send(context.Background(), message())
		wantClass(t, answer, webhook.ClassAuth)
		if text := answer.Err.Error(); !strings.Contains(text, want) || strings.Contains(text, "cl1ent") || !answer.Err.OurSide() {
			t.Errorf("%.40s: err = %s, want %q", broken, text, want)
		}
		if reached {
			t.Errorf("%.40s: the receiver was asked without a token", broken)
		}
	}
	t.Run("silent", func(t *testing.T) {
		r := oauthRoute(t, &tokenServer{}, echoAuth)
		r.Webhook.Timeout = short
		r.Webhook.Auth.OAuth2.TokenURL = rawReceiver(t, peer.hang)
		wantClass(t, newSender(t, r).Send(context.Background(), message()), webhook.ClassAuth)
	})
	t.Run("recovers", func(t *testing.T) {
		tokens := &tokenServer{}
		tokens.broken.Store("500 ")
		s := newSender(t, oauthRoute(t, tokens, echoAuth))
		wantClass(t, s.Send(context.Background(), message()), webhook.ClassAuth)
		tokens.broken.Store("")
		eventually(t, func() error {
			return asError(s.Send(context.Background(), message()))
		})
	})
}

func asError(a webhook.Answer) error {
	if a.Err != nil {
		return a.Err
	}
	return nil
}

// eventually tries until there is no error, for a while.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err := try(); err != nil; err = try() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// Secrets that change in their files are used soon; broken ones are not.
func TestSecretsRotate(t *testing.T) {
	url, got := receiver(t)
	dir := t.TempDir()
	keyFile, tokenFile := filepath.Join(dir, "key"), filepath.Join(dir, "token")
	first, second := webhook.NewSecret(), webhook.NewSecret()
	writeFile(t, keyFile, []byte(first+"\n"))
	writeFile(t, tokenFile, []byte("one\n"))
	r := route(url)
	r.Webhook.Signing.Secrets = []routes.Secret{{File: keyFile}, {Env: "WHSEC"}}
	r.Webhook.Auth.Bearer = &routes.Secret{File: tokenFile}
	var log bytes.Buffer
	s, err := webhook.New(r, webhook.Options{LookupEnv: environment, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	send := func(secret, token string) error {
		if answer := s.Send(context.Background(), message()); answer.Err != nil {
			t.Fatal(answer.Err)
		}
		req := <-got
		if n := len(strings.Fields(req.header.Get("Webhook-Signature"))); n != 2 {
			t.Fatalf("%d signatures, want 2", n)
		}
		if err := webhook.Verify(testSecret, req.header, req.body, time.Now()); err != nil {
			t.Fatal(err) // the other secret always signs too
		}
		if a := req.header.Get("Authorization"); a != "Bearer "+token {
			return errors.New("Authorization is " + a)
		}
		return webhook.Verify(secret, req.header, req.body, time.Now())
	}
	if err := send(first, "one"); err != nil {
		t.Fatal(err)
	}
	// Replaced as orchestrators do it: another file takes the name.
	writeFile(t, keyFile+".new", []byte(second))
	writeFile(t, tokenFile, []byte("two"))
	if err := os.Rename(keyFile+".new", keyFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return send(second, "two") })

	writeFile(t, keyFile, []byte("whsec_broken!"))
	writeFile(t, tokenFile, []byte("three"))
	eventually(t, func() error {
		if err := send(second, "two"); err != nil {
			t.Fatalf("with a broken secret: %v", err)
		}
		if log.Len() == 0 {
			return errors.New("nothing was logged")
		}
		return nil
	})
	if text := log.String(); strings.Contains(text, "broken!") || !strings.Contains(text, "webhook.signing.secrets[0]") {
		t.Errorf("log = %s", text)
	}
}

func TestClientCertificateRotates(t *testing.T) {
	ca := newAuthority(t)
	later := time.Now().Add(time.Hour)
	pair, _, _ := ca.issue("127.0.0.1", later)
	_, oldCert, oldKey := ca.issue("old.example", later)
	_, newCert, newKey := ca.issue("new.example", later)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].Subject.CommonName))
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	r := route(srv.URL)
	r.Webhook.TLS = routes.TLS{CAFile: ca.file, CertFile: oldCert, KeyFile: oldKey}
	s := newSender(t, r)
	send := func(want string) error {
		if answer := s.Send(context.Background(), message()); string(answer.Body) != want {
			return errors.New("presented " + string(answer.Body) + ", want " + want)
		}
		return nil
	}
	if err := send("old.example"); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{newCert: oldCert, newKey: oldKey} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error { return send("new.example") })
}

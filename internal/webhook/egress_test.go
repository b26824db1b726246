package webhook_test

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"relay/internal/webhook"
	"relay/routes"
)

// cgoResolver marks the run of this test binary that uses the C library's resolver.
const cgoResolver = "RELAY_TEST_CGO_RESOLVER"

// Hosts that mean 127.0.0.1 or a metadata service to some resolver or URL parser.
// None may be dialed: the receiver behind the port would see it.
func TestGuardHosts(t *testing.T) {
	hosts := []string{
		"127.0.0.1", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001",
		"127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "foo.localhost", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
		"[::ffff:7f00:1]", "[::ffff:7f00:0001]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0", "0.0.0.0", "[::]",
		"①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "169.254.169.254", "0xa9fea9fe", "2852039166",
		"0251.0376.0251.0376", "[fd00:ec2::254]", "[fe80::1%25lo]", "127.0.0.1%00.example.com",
		"127.000.000.001",
	}
	srv := httptest.NewServer(nil)
	defer srv.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	for _, host := range hosts {
		r := route("http://" + host + ":" + port + "/")
		r.Webhook.Egress.Mode = routes.EgressStrict
		s, err := webhook.New(r, webhook.Options{LookupEnv: environment})
		if err != nil {
			continue // not a URL: refused before anything is sent
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*short) // a name may be asked for in vain
		answer := s.Send(ctx, message())
		cancel()
		s.Close()
		if answer.Err == nil {
			t.Errorf("%s was reached: %d", host, answer.Status)
			continue
		}
		switch answer.Err.Class {
		case webhook.ClassBlocked, webhook.ClassDNS, webhook.ClassCanceled:
		default:
			t.Errorf("%s: %v, want blocked, or no such name", host, answer.Err)
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil && answer.Err.Class != webhook.ClassBlocked {
			t.Errorf("%s: %v, want blocked", host, answer.Err)
		}
	}
}

// The same with the other resolver of Go, which is chosen when a program starts.
func TestGuardHostsWithCResolver(t *testing.T) {
	if os.Getenv(cgoResolver) != "" {
		return // this is that run
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGuardHosts$", "-test.count=1")
	cmd.Env = append(os.Environ(), cgoResolver+"=1", "GODEBUG=netdns=cgo")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A name that turns from a public address to an inner one is judged at each dial.
func TestGuardRebinding(t *testing.T) {
	var asked atomic.Int32
	names := resolver(t, func(string) []string {
		asked.Add(1)
		return []string{"127.0.0.1", "169.254.169.254"}
	})
	srv := httptest.NewServer(nil)
	defer srv.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	r := route("http://rebind.example:" + port + "/")
	r.Webhook.Egress.Mode = routes.EgressStrict
	s := newSenderAt(t, r, webhook.Options{Resolver: names})
	for range 2 {
		before := asked.Load()
		answer := s.Send(context.Background(), message())
		wantClass(t, answer, webhook.ClassBlocked)
		if !answer.Err.OurSide() {
			t.Error("a blocked target is not the message's fault")
		}
		if asked.Load() == before {
			t.Error("the name was not looked up again")
		}
	}

	r.Webhook.Egress.Allow = []string{"127.0.0.0/8"}
	s = newSenderAt(t, r, webhook.Options{Resolver: names})
	if answer := s.Send(context.Background(), message()); answer.Status != 404 {
		t.Errorf("with its network allowed: %+v", answer)
	}
}

// The guard holds for the token endpoint and, for an address in the URL, behind a proxy.
func TestGuardElsewhere(t *testing.T) {
	url, _ := receiver(t)
	r := route(url)
	r.Webhook.Auth.OAuth2 = &routes.OAuth2{TokenURL: "http://169.254.169.254/token", ClientID: "id", ClientSecret: routes.Secret{Env: "CLIENT"}}
	wantClass(t, newSender(t, r).Send(context.Background(), message()), webhook.ClassBlocked)

	r = route("http://169.254.169.254/latest")
	r.Webhook.Proxy = url
	if _, err := webhook.New(r, webhook.Options{LookupEnv: environment}); err == nil || !strings.Contains(err.Error(), "webhook.url") {
		t.Errorf("metadata through a proxy: %v", err)
	}
}

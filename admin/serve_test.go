package admin_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/testkit"
)

func TestCheckAddr(t *testing.T) {
	tests := []struct {
		addr string
		ok   bool
	}{
		{"127.0.0.1:8080", true},
		{"127.8.8.8:0", true},
		{"localhost:8080", true},
		{"[::1]:8080", true},
		{"[::ffff:127.0.0.1]:8080", true},
		{":8080", false},
		{"0.0.0.0:8080", false},
		{"[::]:8080", false},
		{"10.0.0.7:8080", false},
		{"relay.example.com:8080", false},
		{"localhost.example.com:8080", false},
		{"127.0.0.1", false},
		{"", false},
	}
	for _, test := range tests {
		if err := admin.CheckAddr(test.addr); (err == nil) != test.ok {
			t.Errorf("%q: got %v", test.addr, err)
		}
	}
}

func TestNewNeeds(t *testing.T) {
	if _, err := admin.New(admin.Options{}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Errorf("got %v", err)
	}
}

func newServer(t *testing.T, allowRemote bool) *admin.Server {
	t.Helper()
	s := start(t, nil) // for its store
	server, err := admin.New(admin.Options{
		Store: s.store, Routes: s.runtime, NATS: func(context.Context) error { return nil }, AllowRemote: allowRemote,
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestServe(t *testing.T) {
	server := newServer(t, false)
	testkit.Leaks(t)
	ctx, stop := context.WithCancel(t.Context())
	ln := listen(t, "127.0.0.1:0")
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()

	s := &surface{t: t, url: "http://" + ln.Addr().String()}
	if got := s.get("/healthz"); got.status != http.StatusOK {
		t.Errorf("got %d", got.status)
	}
	// A page that is kept up to date does not keep relay from stopping.
	stream, err := http.Get(s.url + "/events?page=overview")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := io.ReadFull(stream.Body, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream was cut off: %v", err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestServeRefusesOtherMachines(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel() // so that the listener closes at once, also if it is not refused
	err := newServer(t, false).Serve(ended, listen(t, "0.0.0.0:0"))
	if err == nil || !strings.Contains(err.Error(), "--admin-users") {
		t.Errorf("got %v", err)
	}
}

func TestHostNames(t *testing.T) {
	for _, test := range []struct {
		host        string
		allowRemote bool
		want        int
	}{
		{"127.0.0.1:8080", false, http.StatusOK},
		{"localhost:8080", false, http.StatusOK},
		{"[::1]:8080", false, http.StatusOK},
		{"[::1]", false, http.StatusOK},
		{"evil.example.com", false, http.StatusMisdirectedRequest},
		{"evil.example.com:8080", false, http.StatusMisdirectedRequest},
		{"192.168.1.9", false, http.StatusMisdirectedRequest},
		{"relay.example.com", true, http.StatusOK},
	} {
		s := start(t, func(o *admin.Options) { o.AllowRemote = test.allowRemote })
		if got := s.do("GET", "/api/v1/routes", "", http.Header{"Host": {test.host}}); got.status != test.want {
			t.Errorf("%s: got %d, want %d", test.host, got.status, test.want)
		}
	}
}

func TestCrossOrigin(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	for _, path := range []string{"/api/v1/dead-letters/" + id + "/replay", "/dead-letters/" + id + "/replay"} {
		for _, header := range []http.Header{
			{"Sec-Fetch-Site": {"cross-site"}},
			{"Sec-Fetch-Site": {"same-site"}},
			{"Origin": {"https://evil.example.com"}},
			{"Origin": {"null"}},
		} {
			if got := s.do("POST", path, "", header); got.status != http.StatusForbidden {
				t.Errorf("%s with %v: got %d", path, header, got.status)
			}
		}
	}
	if s.state(id) != dlqstore.Dead {
		t.Errorf("another site's page changed the state to %s", s.state(id))
	}
	if got := s.do("POST", "/dead-letters/"+id+"/replay", "", http.Header{"Origin": {s.url}}); got.status != http.StatusSeeOther {
		t.Errorf("our own page: got %d", got.status)
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(1, nil))[0]
	for _, path := range []string{"/", "/dead-letters", "/dead-letters/" + id, "/routes/audit-log", "/api/v1/routes", "/nothing", "/api/nothing"} {
		header := s.get(path).header
		csp := header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestHead(t *testing.T) {
	s := start(t, nil)
	if got := s.do("HEAD", "/dead-letters", "", nil); got.status != http.StatusOK || got.body != "" {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

package webhook

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"relay/internal/testkit"
	"relay/routes"
)

// A kept connection that cannot be used for the next request costs no attempt: it is
// found out, and the request goes over a new one. What can happen to it between its
// choice and its use no receiver can be made to do, hence a test from inside.
func TestHTTP1Kept(t *testing.T) {
	brokenWrite := func(err error) func(*testing.T, *wire, net.Conn) {
		return func(_ *testing.T, w *wire, _ net.Conn) { w.conn = &brokenConn{Conn: w.conn, err: err} }
	}
	receiverDoes := func(do func(c *net.TCPConn)) func(*testing.T, *wire, net.Conn) {
		return func(t *testing.T, w *wire, c net.Conn) {
			do(c.(*net.TCPConn))
			testkit.Eventually(t, func() bool { return !w.quiet() }, "it to arrive")
		}
	}
	tests := map[string]struct {
		happens func(t *testing.T, w *wire, receiver net.Conn)
		reused  bool
	}{
		"nothing":     {func(*testing.T, *wire, net.Conn) {}, true},
		"closed":      {receiverDoes(func(c *net.TCPConn) { _ = c.Close() }), false},
		"reset":       {receiverDoes(func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }), false},
		"a late word": {receiverDoes(func(c *net.TCPConn) { fmt.Fprint(c, "HTTP/1.1 299 Other\r\n\r\n") }), false},
		"too old":     {func(_ *testing.T, w *wire, _ net.Conn) { w.born = w.born.Add(-connLifetime) }, false},
		"idle for long": {func(_ *testing.T, w *wire, _ net.Conn) {
			w.since = w.since.Add(-idleTimeout)
			w.way.sweep()
		}, false},
		"its deadline over": {func(_ *testing.T, w *wire, _ net.Conn) { _ = w.conn.SetDeadline(time.Unix(1, 0)) }, true},
		"reset in its use":  {brokenWrite(syscall.ECONNRESET), false},
		"closed in its use": {brokenWrite(syscall.EPIPE), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opened := make(chan net.Conn, 10)
			s, err := New(routes.Route{
				Name: "orders", Concurrency: 2,
				Webhook: routes.Webhook{Timeout: time.Minute, URL: testkit.RawReceiver(t, func(c net.Conn) {
					opened <- c
					for r := bufio.NewReader(c); ; {
						if _, err := http.ReadRequest(r); err != nil {
							return
						}
						fmt.Fprint(c, "HTTP/1.1 204 No Content\r\n\r\n")
					}
				})},
			}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			send := func() {
				t.Helper()
				if answer := s.Send(context.Background(), &Message{ID: "msg_1"}); answer.Status != http.StatusNoContent {
					t.Fatalf("answer = %d, %v; want 204", answer.Status, answer.Err)
				}
			}
			send()
			tt.happens(t, s.plain.kept[0], <-opened)
			send()
			if reused := len(opened) == 0; reused != tt.reused {
				t.Errorf("the kept connection was used again: %v, want %v", reused, tt.reused)
			}
			if n := len(s.plain.kept); n != 1 {
				t.Errorf("%d connections are kept, want 1", n)
			}
			s.Close()
			if len(s.plain.kept) != 0 || s.plain.sweeper != nil || len(s.plain.places) != 0 {
				t.Error("something is left after Close")
			}
		})
	}
}

// A message that finds every connection in use waits no longer than its attempt may
// take, or its caller does.
func TestHTTP1NoPlace(t *testing.T) {
	s, err := New(routes.Route{
		Name: "orders", Concurrency: 1, Webhook: routes.Webhook{Timeout: 50 * time.Millisecond, URL: "http://127.0.0.1:1/"},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.plain.places <- struct{}{}
	gone, leave := context.WithCancel(context.Background())
	leave()
	for class, ctx := range map[Class]context.Context{ClassTimeoutDial: context.Background(), ClassCanceled: gone} {
		if answer := s.Send(ctx, &Message{ID: "msg_1"}); answer.Err == nil || answer.Err.Class != class {
			t.Errorf("err = %v, want the class %s", answer.Err, class)
		}
	}
	if len(s.plain.places) != 1 {
		t.Error("a place was given back that was not taken")
	}
}

// Where requests go, and under which name, is what net/http makes of the URL.
func TestHTTP1Target(t *testing.T) {
	for url, want := range map[string]struct{ address, head string }{
		"http://example.com":             {"example.com:80", "POST / HTTP/1.1\r\nHost: example.com\r\n"},
		"http://example.com:8080/a?b=c#": {"example.com:8080", "POST /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\n"},
		"http://127.0.0.1:9/a b/ü":       {"127.0.0.1:9", "POST /a%20b/%C3%BC HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"},
		"http://[::1]:9/":                {"[::1]:9", "POST / HTTP/1.1\r\nHost: [::1]:9\r\n"},
		"http://[fd12::1%25eth0]/":       {"[fd12::1%eth0]:80", "POST / HTTP/1.1\r\nHost: [fd12::1]\r\n"},
		"http://bücher.example/":         {"xn--bcher-kva.example:80", "POST / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n"},
		"http://①②⑦.0.0.1/":              {"127.0.0.1:80", "POST / HTTP/1.1\r\nHost: xn--orhcp.0.0.1\r\n"},
	} {
		s, err := New(routes.Route{Name: "orders", Webhook: routes.Webhook{Timeout: time.Second, URL: url}}, Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if address := dialAddress(s.template.URL); address != want.address || string(s.plain.head) != want.head {
			t.Errorf("%s: dials %q and sends %q, want %q and %q", url, address, s.plain.head, want.address, want.head)
		}
		s.Close()
	}
}

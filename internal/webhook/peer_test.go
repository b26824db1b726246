package webhook_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relay/internal/testkit"
	"relay/internal/webhook"
	"relay/routes"
)

// TestMain sets the environment's proxies, which are nobody's business: every test that
// sends to a name would fail through them.
func TestMain(m *testing.M) {
	_ = os.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_ = os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

// short is the timeout of attempts that are to run into it.
const short = 300 * time.Millisecond

// peer is one connection of a raw receiver.
type peer struct {
	net.Conn
	tcp  *net.TCPConn // Conn itself, or what TLS goes over
	r    *bufio.Reader
	done <-chan struct{} // closed at the end of the test
}

// request reads one whole request, and says whether there was one.
func (p peer) request() (*http.Request, bool) {
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, false
	}
	for buf := make([]byte, 4096); err == nil; {
		_, err = req.Body.Read(buf)
	}
	return req, true
}

// say writes until the connection or the test ends, and says whether it went out.
func (p peer) say(s string) bool {
	_, err := p.Write([]byte(s))
	return err == nil
}

// drip writes s again and again, a byte every few milliseconds.
func (p peer) drip(s string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-p.done:
			return
		}
		if !p.say(s[i%len(s) : i%len(s)+1]) {
			return
		}
	}
}

// flood writes s again and again until nobody reads it.
func (p peer) flood(s string) {
	s = strings.Repeat(s, 1+1000/len(s))
	for p.say(s) {
	}
}

// hang waits for the other side to close.
func (p peer) hang() {
	_, _ = p.r.Discard(1 << 30)
}

// reset closes with RST.
func (p peer) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
}

// rawReceiver serves TCP: handle has each connection until it returns.
func rawReceiver(t *testing.T, handle func(peer)) (url string) {
	t.Helper()
	done := make(chan struct{})
	url = testkit.RawReceiver(t, func(c net.Conn) { handle(peer{c, c.(*net.TCPConn), bufio.NewReader(c), done}) })
	t.Cleanup(func() { close(done) })
	return url
}

// answering is a raw receiver's way to read one request and answer with what follows.
func answering(then func(peer)) func(peer) {
	return func(p peer) {
		if _, ok := p.request(); ok {
			then(p)
		}
	}
}

// engine makes a raw receiver, and the route to it.
type engine func(t *testing.T, handle func(peer)) routes.Route

// engines are the ways that a message takes: relay's own, to an http URL, and net/http,
// to an https one.
func engines(t *testing.T) map[string]engine {
	t.Helper()
	ca := newAuthority(t)
	pair, _, _ := ca.issue("127.0.0.1", time.Now().Add(time.Hour))
	return map[string]engine{
		"own": func(t *testing.T, handle func(peer)) routes.Route {
			return route(rawReceiver(t, handle))
		},
		"net/http": func(t *testing.T, handle func(peer)) routes.Route {
			r := route("https" + strings.TrimPrefix(rawReceiver(t, func(p peer) {
				c := tls.Server(p.tcp, tlsConfig(pair))
				if c.HandshakeContext(context.Background()) == nil {
					handle(peer{c, p.tcp, bufio.NewReader(c), p.done})
				}
			}), "http"))
			r.Webhook.TLS.CAFile = ca.file
			return r
		},
	}
}

// sendInTime sends by a sender of its own, again with more time when a busy machine did
// not come to the request.
func sendInTime(ctx context.Context, t *testing.T, r routes.Route, m *webhook.Message) webhook.Answer {
	t.Helper()
	for {
		answer := newSender(t, r).Send(ctx, m)
		if answer.Err == nil || (answer.Err.Class != webhook.ClassTimeoutDial && answer.Err.Class != webhook.ClassTimeoutTLS) {
			return answer
		}
		r.Webhook.Timeout *= 2
	}
}

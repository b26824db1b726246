package webhook_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// An HTTP/2 connection on which nothing comes through any more, and which nobody closes,
// is given up when its pings are not answered: the attempts that time out on it are few.
func TestSendHTTP2DeadConnection(t *testing.T) {
	ca := newAuthority(t)
	pair, _, _ := ca.issue("127.0.0.1", time.Now().Add(time.Hour))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s, want HTTP/2", r.Proto)
		}
	}))
	srv.TLS, srv.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	between := newBlackHole(t, srv.Listener.Addr().String())

	r := route("https://" + between.addr)
	r.Webhook.TLS.CAFile = ca.file
	r.Webhook.Timeout = 4 * time.Second
	s := newSender(t, r)
	if answer := s.Send(t.Context(), message()); answer.Status != http.StatusOK {
		t.Fatalf("answer = %d, %v", answer.Status, answer.Err)
	}
	between.dead.Store(true) // the connection that is there, not those that come
	const most = 12          // its silence is noticed within 25 s
	for n := 1; ; n++ {
		answer := s.Send(t.Context(), message())
		if answer.Status == http.StatusOK {
			break
		}
		if n == most {
			t.Fatalf("%d attempts in a row timed out, the last with %v", n, answer.Err)
		}
	}
	if n := between.connections.Load(); n < 2 {
		t.Errorf("%d connections, want a new one", n)
	}
}

// blackHole hands on what comes, until it is dead: then the first connection stays open
// and carries nothing.
type blackHole struct {
	addr        string
	dead        atomic.Bool
	connections atomic.Int32
}

func newBlackHole(t *testing.T, target string) *blackHole {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &blackHole{addr: listener.Addr().String()}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				return
			}
			first := h.connections.Add(1) == 1
			go h.pipe(in, out, first)
			go h.pipe(out, in, first)
		}
	}()
	return h
}

func (h *blackHole) pipe(from, to net.Conn, first bool) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if first && h.dead.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

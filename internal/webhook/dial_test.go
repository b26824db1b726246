package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"relay/internal/webhook"
	"relay/routes"
)

// resolver looks names up at a DNS server of the test: answer gives the addresses of
// a name, none for a name that does not exist.
func resolver(t *testing.T, answer func(name string) []string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = server.Close(); <-ended })
	go func() {
		defer close(ended)
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buf[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			reply := dnsReply(query, answer(query.Questions[0].Name.String()))
			packed, _ := reply.Pack()
			_, _ = server.WriteTo(packed, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func dnsReply(query dnsmessage.Message, addresses []string) dnsmessage.Message {
	q := query.Questions[0]
	reply := dnsmessage.Message{Questions: query.Questions}
	reply.Header = dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true}
	if len(addresses) == 0 {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addresses {
		ip := netip.MustParseAddr(a)
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	return reply
}

func newSenderAt(t *testing.T, r routes.Route, o webhook.Options) *webhook.Sender {
	t.Helper()
	o.LookupEnv = environment
	s, err := webhook.New(r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSendDNS(t *testing.T) {
	names := resolver(t, func(name string) []string {
		if name == "receiver.example." {
			return []string{"127.0.0.1"}
		}
		return nil
	})
	url, got := receiver(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")

	s := newSenderAt(t, route("http://receiver.example:"+port+"/"), webhook.Options{Resolver: names})
	if answer := s.Send(context.Background(), message()); answer.Status != 200 {
		t.Fatalf("a name that exists: %+v", answer)
	}
	<-got
	s = newSenderAt(t, route("http://nobody.example:"+port+"/?query=t0ken"), webhook.Options{Resolver: names})
	wantClass(t, s.Send(context.Background(), message()), webhook.ClassDNS)
}

// A receiver that moves is found, though its old place answers on kept connections.
func TestSendMovedReceiver(t *testing.T) {
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", old.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	for l, status := range map[net.Listener]int{old: 201, moved: 202} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_ = srv.Listener.Close()
		srv.Listener = l
		srv.Start()
		t.Cleanup(srv.Close)
	}
	var address atomic.Value
	address.Store("127.0.0.1")
	names := resolver(t, func(string) []string { return []string{address.Load().(string)} })
	s := newSenderAt(t, route(fmt.Sprintf("http://receiver.example:%d", old.Addr().(*net.TCPAddr).Port)), webhook.Options{Resolver: names})
	want := func(status int) {
		t.Helper()
		if answer := s.Send(context.Background(), message()); answer.Status != status {
			t.Fatalf("answer = %d, %v; want %d", answer.Status, answer.Err, status)
		}
	}
	want(201)
	address.Store("127.0.0.2")
	want(201) // on the kept connection
	s.Age(5 * time.Minute)
	want(202)
}

func TestSendRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	s := newSender(t, route("http://"+listener.Addr().String()+"/path?query=t0ken"))
	wantClass(t, s.Send(context.Background(), message()), webhook.ClassRefused)
}

// A socket whose backlog is full lets further connections hang.
func TestSendDialTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, _ := syscall.Getsockname(fd)
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for full := false; !full; {
		c, err := net.DialTimeout("tcp", address, short)
		if full = err != nil; !full {
			defer c.Close() // two at most
		}
	}
	r := route("http://" + address)
	r.Webhook.Timeout = short
	s := newSender(t, r)
	wantClass(t, s.Send(context.Background(), message()), webhook.ClassTimeoutDial)
	m := message()
	m.Body = nil
	wantClass(t, s.Send(context.Background(), m), webhook.ClassTimeoutDial)
}

// proxy is an HTTP proxy: it tunnels CONNECT and forwards the rest, or refuses with
// its status when that is set.
type proxy struct {
	status atomic.Int32
	used   atomic.Int32
	auth   atomic.Value
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.used.Add(1)
	p.auth.Store(r.Header.Get("Proxy-Authorization"))
	if status := int(p.status.Load()); status != 0 {
		w.WriteHeader(status)
		return
	}
	if r.Method != http.MethodConnect {
		r.RequestURI = ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		return
	}
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	w.WriteHeader(http.StatusOK)
	here, buffered, _ := http.NewResponseController(w).Hijack()
	defer here.Close()
	go func() { _, _ = io.Copy(there, buffered); _ = there.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(here, there)
}

func TestSendProxy(t *testing.T) {
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	ca := newAuthority(t)
	pair, _, _ := ca.issue("127.0.0.1", ca.cert.NotAfter)
	plain, _ := receiver(t)
	secure := tlsReceiver(t, tlsConfig(pair), false)
	var p proxy
	srv := httptest.NewServer(&p)
	t.Cleanup(srv.Close)
	address := strings.TrimPrefix(srv.URL, "http://")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	tests := []struct {
		name, url, proxy string
		refuse           int32
		status           int
		class            webhook.Class
	}{
		{"none", plain, "", 0, 200, ""},
		{"http", plain, "http://user:pa55@" + address, 0, 200, ""},
		{"https", secure, "http://user:pa55@" + address, 0, 200, ""},
		{"refuses the tunnel", secure, "http://" + address, 403, 0, webhook.ClassProxy},
		{"wants a password", secure, "http://" + address, 407, 0, webhook.ClassProxy},
		{"unreachable", plain, "http://user:pa55@" + closed.Addr().String(), 0, 0, webhook.ClassProxy},
		{"unreachable for https", secure, "http://" + closed.Addr().String(), 0, 0, webhook.ClassProxy},
		{"unreachable socks", plain, "socks5://" + closed.Addr().String(), 0, 0, webhook.ClassProxy},
		{"garbage", secure, rawReceiver(t, answering(func(p peer) { p.say("\x00\x01\x02\r\n\r\n") })), 0, 0, webhook.ClassProxy},
		{"silent", secure, rawReceiver(t, peer.hang), 0, 0, webhook.ClassProxy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p.status.Store(tt.refuse)
			p.used.Store(0)
			p.auth.Store("")
			r := route(tt.url)
			r.Webhook.Proxy = tt.proxy
			r.Webhook.TLS.CAFile = ca.file
			if tt.name == "silent" {
				r.Webhook.Timeout = short
			}
			answer := newSender(t, r).Send(context.Background(), message())
			if tt.class != "" {
				wantClass(t, answer, tt.class)
				if strings.Contains(answer.Err.Error(), "pa55") || !answer.Err.OurSide() {
					t.Errorf("err = %v, our side %v", answer.Err, answer.Err.OurSide())
				}
				return
			}
			if answer.Status != tt.status {
				t.Fatalf("answer = %d, %v; want %d", answer.Status, answer.Err, tt.status)
			}
			if through := p.used.Load() == 1; through != (tt.proxy != "") {
				t.Errorf("went through the proxy: %v", through)
			}
			if auth := p.auth.Load(); tt.proxy != "" && auth != "Basic dXNlcjpwYTU1" {
				t.Errorf("Proxy-Authorization = %q", auth)
			}
		})
	}
}

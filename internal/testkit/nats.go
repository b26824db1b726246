package testkit

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Server is a real NATS server with JetStream, inside the test process.
type Server struct {
	// URL is where clients connect. It stays the same over Restart.
	URL string

	opts server.Options
	srv  *server.Server // nil while stopped
}

// NATS starts a server on a free port with its files in a temporary folder. The changes
// are made to its options before the start: users, limits, TLS.
func NATS(t testing.TB, changes ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{opts: server.Options{
		ServerName: "test",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		NoLog:      true,
		NoSigs:     true,
	}}
	for _, change := range changes {
		change(&s.opts)
	}
	s.Start(t)
	t.Cleanup(s.Stop)
	s.URL = s.srv.ClientURL()
	s.opts.Port = s.srv.Addr().(*net.TCPAddr).Port
	return s
}

// MonitorURL is where the server tells about itself, if its options say so.
func (s *Server) MonitorURL() string { return "http://" + s.srv.MonitorAddr().String() }

// Conn connects to the server as the given options say and closes with the test.
func (s *Server) Conn(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.URL, append([]nats.Option{nats.MaxReconnects(-1)}, opts...)...)
	if err != nil {
		t.Fatalf("connect to test NATS: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// JetStream is the JetStream context of a new Conn.
func (s *Server) JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatalf("test JetStream: %v", err)
	}
	return js
}

// Stop shuts the server down and waits for it. Stopping a stopped server does nothing.
func (s *Server) Stop() {
	if s.srv == nil {
		return
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Start starts a stopped server again, on the same port and folder.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	opts := s.opts // the server writes to its copy
	srv, err := server.NewServer(&opts)
	if err != nil {
		t.Fatalf("test NATS: %v", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		srv.Shutdown()
		t.Fatalf("test NATS: not ready after %s", patience)
	}
	s.srv = srv
}

// Restart stops the server and starts it again, on the same port and folder.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	s.Start(t)
}

// Cluster starts three servers as one JetStream cluster and returns when it has a
// leader and all three follow it.
func Cluster(t testing.TB) [3]*Server {
	t.Helper()
	var (
		nodes  [3]*Server
		held   [3]net.Listener // ports are kept from others until their server starts
		routes []*url.URL
		name   = "test-" + rand.Text() // servers of another run on a port used again are strangers
	)
	for i := range held {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		defer l.Close()
		held[i] = l
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	for i := range nodes {
		held[i].Close()
		nodes[i] = NATS(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("test-%d", i)
			o.Cluster = server.ClusterOpts{Name: name, Host: "127.0.0.1", Port: held[i].Addr().(*net.TCPAddr).Port}
			o.Routes = routes
		})
	}
	Eventually(t, func() bool { return clusterReady(nodes) }, "three NATS servers form a cluster")
	return nodes
}

func clusterReady(nodes [3]*Server) bool {
	for _, n := range nodes {
		if n.srv.JetStreamIsLeader() {
			peers := n.srv.JetStreamClusterPeers()
			return len(peers) == len(nodes)
		}
	}
	return false
}

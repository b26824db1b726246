package chaos_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsEnv names the configuration file with which the test binary is a nats-server.
const natsEnv = "CHAOS_NATS_SERVER"

// serveNATS is nats-server, as its own main function starts it.
func serveNATS(config string) error {
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

// node is one nats-server process. Its address and its folder stay over restarts.
type node struct {
	t     *testing.T
	name  string
	addr  string
	user  string // of the test's connection: NAME:PASSWORD@
	dir   string // its configuration, its log and, unless told otherwise, its store
	store string
	more  string // of the configuration
	*child
}

func newNode(t *testing.T, dir, name string) *node {
	t.Helper()
	return &node{t: t, name: name, addr: freeAddr(t), dir: dir, store: filepath.Join(dir, name)}
}

func (n *node) url() string { return "nats://" + n.user + n.addr }

func (n *node) configure() {
	n.t.Helper()
	text := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q }\nlog_file: %q\n%s\n",
		n.name, n.addr, n.store, filepath.Join(n.dir, n.name+".log"), n.more)
	if err := os.WriteFile(n.config(), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) config() string { return filepath.Join(n.dir, n.name+".conf") }

// start starts the server without waiting for it.
func (n *node) start() {
	n.t.Helper()
	n.configure()
	n.child = spawn(n.t, n.name, filepath.Join(n.dir, n.name+".log"), []string{natsEnv + "=" + n.config()}, os.Args[0])
}

// stop ends the server in good order.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.wait()
}

// reload puts another configuration in force in the running server.
func (n *node) reload(more string) {
	n.t.Helper()
	n.more = more
	n.configure()
	n.signal(syscall.SIGHUP)
}

// startNATS starts one server, as change makes it, and connects to it.
func (h *house) startNATS(change func(n *node)) {
	h.t.Helper()
	n := newNode(h.t, h.dir, "nats")
	if change != nil {
		change(n)
	}
	h.nodes = []*node{n}
	n.start()
	h.natsURL = n.url()
	h.connect(n.url())
}

// startCluster starts three servers that are one cluster.
func (h *house) startCluster() {
	h.t.Helper()
	var members, urls []string
	for i := range 3 {
		h.nodes = append(h.nodes, newNode(h.t, h.dir, fmt.Sprintf("nats-%d", i)))
		members = append(members, freeAddr(h.t))
		urls = append(urls, h.nodes[i].url())
	}
	for i, n := range h.nodes {
		n.more = fmt.Sprintf("cluster { name: chaos, listen: %q, routes: [%q, %q, %q] }",
			members[i], "nats://"+members[0], "nats://"+members[1], "nats://"+members[2])
		n.start()
	}
	h.natsURL = strings.Join(urls, ",")
	h.replicas = len(h.nodes)
	h.connect(h.natsURL)
}

// connect makes the test's own connection, which never gives up, and waits for
// JetStream behind it.
func (h *house) connect(url string) {
	h.t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true), nats.IgnoreDiscoveredServers())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	if h.js, err = jetstream.New(nc); err != nil {
		h.t.Fatal(err)
	}
	h.nc = nc
	h.awaitJetStream()
}

func (h *house) awaitJetStream() {
	h.t.Helper()
	await(h.t, patience, "JetStream to answer", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := h.js.AccountInfo(ctx)
		return err == nil
	})
}

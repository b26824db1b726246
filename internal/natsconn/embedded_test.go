package natsconn_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/natsconn"
	"relay/internal/testkit"
)

func TestEmbeddedKeepsItsMessages(t *testing.T) {
	testkit.Leaks(t)
	dir := filepath.Join(t.TempDir(), "made", "if-missing")
	options := natsconn.EmbeddedOptions{Dir: dir, Port: -1, SyncAlways: true}
	for run := range 2 {
		srv, err := natsconn.StartEmbedded(options)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := natsconn.Connect(t.Context(), natsconn.Options{URL: srv.URL()})
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.Msgs; got != uint64(run) {
			t.Errorf("run %d begins with %d messages, want %d", run, got, run)
		}
		if _, err := js.Publish(t.Context(), "orders.created", nil); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		srv.Shutdown()
	}
}

func TestEmbeddedListensOnLoopback(t *testing.T) {
	srv, err := natsconn.StartEmbedded(natsconn.EmbeddedOptions{Dir: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	if !strings.HasPrefix(srv.URL(), "nats://127.0.0.1:") {
		t.Errorf("URL = %s, want one of 127.0.0.1", srv.URL())
	}
}

func TestEmbeddedLogs(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := natsconn.StartEmbedded(natsconn.EmbeddedOptions{Dir: t.TempDir(), Port: -1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	if !strings.Contains(out.String(), `level=DEBUG msg="NATS server: Server is ready"`) {
		t.Errorf("the log does not tell of the start:\n%s", out.String())
	}
}

func TestEmbeddedRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	srv, err := natsconn.StartEmbedded(natsconn.EmbeddedOptions{Dir: taken, Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()

	tests := []struct {
		name    string
		options natsconn.EmbeddedOptions
		want    string
	}{
		{"port in use", natsconn.EmbeddedOptions{Dir: t.TempDir(), Port: port},
			fmt.Sprintf("port %d on 127.0.0.1 is in use; choose another with --nats-port, or -1 for a free one", port)},
		{"no port", natsconn.EmbeddedOptions{Dir: t.TempDir(), Port: 70000},
			"listen for NATS clients on 127.0.0.1 port 70000: listen tcp: address 70000: invalid port"},
		{"no folder", natsconn.EmbeddedOptions{Port: -1}, "start embedded NATS: a data folder is missing; give one with --data"},
		{"folder is a file", natsconn.EmbeddedOptions{Dir: file, Port: -1},
			"data folder " + file + " cannot be made: not a directory; choose another with --data"},
		{"folder in use", natsconn.EmbeddedOptions{Dir: taken, Port: -1},
			"data folder " + taken + " is in use by another relay; stop it, or choose another folder with --data"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, err := natsconn.StartEmbedded(tt.options)
			if err == nil {
				srv.Shutdown()
				t.Fatal("started")
			}
			if err.Error() != tt.want {
				t.Errorf("error = %q\nwant    %q", err, tt.want)
			}
		})
	}
}

package main

import (
	"context"
	_ "embed" // the sample routes
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/routes"
)

//go:embed sample.routes.yaml
var sampleRoutes []byte

// receiverVariable is the name under which the sample routes find the receiver.
const receiverVariable = "RELAY_DEV_RECEIVER"

func devCommand() *cobra.Command {
	var s settings
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Show the whole job on this machine: NATS, a receiver and sample traffic inside one process",
		Args:  cobra.NoArgs,
	}
	serverFlags(cmd, &s, "compact")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "time between two sample messages; 0 sends only the first round")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		// A terminal that is closed ends it as Ctrl-C does: a folder is to be removed.
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
		defer stop()
		if s.log, err = newLogger(cmd.OutOrStdout(), s.logging); err != nil {
			return unusable(err)
		}
		temporary := s.data == ""
		if temporary {
			if s.data, err = os.MkdirTemp("", "relay-dev-"); err != nil {
				return unusable(fmt.Errorf("make a folder for the data: %w; give one with --data", err))
			}
			defer func() { err = errors.Join(err, os.RemoveAll(s.data)) }()
		}
		if err := os.MkdirAll(s.data, 0o700); err != nil {
			return unusable(fmt.Errorf("--data %s: make the folder: %w; give another folder, or the right to write there", s.data, err))
		}
		freePorts(cmd, &s)
		if err := listenAdmin(cmd, &s); err != nil {
			return unusable(err)
		}
		hooks, err := listen(cmd.Context(), "127.0.0.1:0", "the sample receiver needs a free port")
		if err != nil {
			return unusable(err)
		}
		defer hooks.Close()
		s.lookupEnv = func(name string) (string, bool) {
			if name == receiverVariable {
				return "http://" + hooks.Addr().String(), true
			}
			return os.LookupEnv(name)
		}
		file := filepath.Join(s.data, "routes.yaml")
		// One that is there already, with somebody's changes in it, is used as it is.
		if err := writeNew(file, sampleRoutes); err != nil && !errors.Is(err, fs.ErrExist) {
			return unusable(err)
		}
		s.reload = reloading{watch: file, load: func() (*routes.Config, error) {
			return routes.Load([]string{file}, routes.Options{LookupEnv: s.lookupEnv, CheckFilter: dispatcher.CheckFilter})
		}}
		if s.config, err = loadRoutes(s.reload.load, cmd.ErrOrStderr()); err != nil {
			return err
		}
		s.embedded, s.drain = true, 5*time.Second
		s.announce = func(adminURL, natsURL string) { banner(cmd.OutOrStdout(), adminURL, natsURL, s.data, file, temporary) }
		s.beside = map[string]func(context.Context, jetstream.JetStream) error{
			"sample traffic": func(ctx context.Context, js jetstream.JetStream) error { return publishSamples(ctx, js, every, s.log) },
			"sample receiver": func(ctx context.Context, _ jetstream.JetStream) error {
				return serveHTTP(ctx, hooks, &receiver{seen: map[string]int{}, judge: judgeSample})
			},
		}
		return serve(ctx, s)
	}
	return cmd
}

// judgeSample is how the receiver treats each of the sample routes.
func judgeSample(req *http.Request, attempt int) int {
	switch {
	case req.URL.Path == "/flaky" && attempt <= 2:
		return http.StatusServiceUnavailable
	case req.URL.Path == "/picky":
		return http.StatusUnprocessableEntity
	case req.URL.Path == "/broken" && req.Header.Get("relay-replay-of") == "":
		return http.StatusInternalServerError
	default:
		return http.StatusNoContent
	}
}

// freePorts lets relay dev start beside whatever has the default ports already; a port
// that was asked for is not exchanged.
func freePorts(cmd *cobra.Command, s *settings) {
	taken := func(addr string) bool {
		ln, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", addr)
		if err == nil {
			_ = ln.Close()
		}
		return err != nil
	}
	if !cmd.Flags().Changed("admin") && os.Getenv("RELAY_ADMIN_ADDR") == "" && taken(s.adminAddr) {
		s.adminAddr = "127.0.0.1:0"
	}
	if !cmd.Flags().Changed("nats-port") && taken(fmt.Sprintf("127.0.0.1:%d", s.natsPort)) {
		s.natsPort = -1
	}
}

// banner says what runs where, and what to try next.
func banner(w io.Writer, adminURL, natsURL, data, file string, temporary bool) {
	kept := ""
	if temporary {
		kept = " (removed when relay dev ends; keep it with --data DIR)"
	}
	self := "relay"
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		self = "go run ./cmd/relay" // started by go run: there is no relay in the PATH
	}
	fmt.Fprintf(w, `
  relay dev: everything in one process, for trying things. NOT for production.

  admin page   %s
  NATS         %s
  data         %s%s
  routes file  %s

  try next     %s send --sample github.push --nats %s
               open %s/dead-letters and replay one

`, adminURL, natsURL, data, kept, file, self, natsURL, adminURL)
}

// publishSamples sends one of each sample payload, and then one every so often. A routes
// file of somebody's own may have no stream for them, which is said.
func publishSamples(ctx context.Context, js jetstream.JetStream, every time.Duration, log *slog.Logger) error {
	failed := saying(log, "no sample traffic")
	names := sampleNames()
	for i := 0; ; i++ {
		if i >= len(names) {
			if every <= 0 {
				return nil
			}
			select {
			case <-time.After(every):
			case <-ctx.Done():
				return nil
			}
		}
		name := names[i%len(names)]
		payload, err := samplePayload(name)
		if err != nil {
			return err
		}
		if _, err = js.Publish(ctx, name, payload); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

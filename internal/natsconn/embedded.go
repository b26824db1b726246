package natsconn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTimeout bounds the start of the embedded server, with the recovery of what its
// folder holds.
const startTimeout = 2 * time.Minute

// host is where the embedded server listens: its clients are on this machine.
const host = "127.0.0.1"

// EmbeddedOptions says how the embedded server runs.
type EmbeddedOptions struct {
	// Dir is the folder of its streams; it is made if missing. One server at a time
	// may use it. Required.
	Dir string
	// Port to listen on, on 127.0.0.1; -1 picks a free one. Defaults to 4222.
	Port int
	// SyncAlways has every message on the disk before its publisher is told so.
	// Without it a crash of the machine, though not of relay, may lose the messages of
	// the last two minutes (JetStream's default).
	SyncAlways bool
	// Logger takes the server's log: notices at debug level, warnings and errors at
	// theirs. Nil: nothing is logged.
	Logger *slog.Logger
}

// Embedded is a NATS server with JetStream inside this process.
type Embedded struct {
	srv  *server.Server
	lock *os.File
}

// StartEmbedded returns a server that accepts connections. The caller shuts it down.
// A port in use, a folder that cannot be written or that another server uses are
// errors of one line that say how to mend them.
func StartEmbedded(o EmbeddedOptions) (*Embedded, error) {
	if o.Port == 0 {
		o.Port = 4222
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkDir(o.Dir); err != nil {
		return nil, err
	}
	if err := checkPort(o.Port); err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	srv, err := startServer(o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Embedded{srv: srv, lock: lock}, nil
}

// URL is where clients connect.
func (e *Embedded) URL() string { return e.srv.ClientURL() }

// Shutdown stops the server and returns when its files are closed. Clients are cut
// off: close them first.
func (e *Embedded) Shutdown() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	_ = e.lock.Close() // frees the folder; nothing was written to it
}

func startServer(o EmbeddedOptions) (*server.Server, error) {
	log := &serverLog{log: o.Logger}
	srv, err := server.NewServer(&server.Options{
		ServerName: "relay-embedded",
		Host:       host,
		Port:       o.Port,
		JetStream:  true,
		StoreDir:   o.Dir,
		SyncAlways: o.SyncAlways,
		NoSigs:     true,
	})
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) || log.fatalText() != "" {
		srv.Shutdown()
		srv.WaitForShutdown()
		if text := log.fatalText(); text != "" {
			return nil, fmt.Errorf("start embedded NATS: %s", text)
		}
		return nil, fmt.Errorf("start embedded NATS: not ready after %s", startTimeout)
	}
	return srv, nil
}

// checkDir makes the folder and tries to write to it: the server would only log it.
func checkDir(dir string) error {
	if dir == "" {
		return errors.New("start embedded NATS: a data folder is missing; give one with --data")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder %s cannot be made: %w; choose another with --data", dir, cause(err))
	}
	f, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return fmt.Errorf("data folder %s cannot be written: %w; choose another with --data, or mend its permissions", dir, cause(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkPort finds a port in use before the server does, which would only log it.
func checkPort(port int) error {
	if port == -1 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d on %s is in use; choose another with --nats-port, or -1 for a free one", port, host)
	}
	if err != nil {
		return fmt.Errorf("listen for NATS clients on %s port %d: %w", host, port, cause(err))
	}
	return l.Close()
}

// cause is the operating system's word for err, without path and call, which the
// message around it has already named.
func cause(err error) error {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return no
	}
	return err
}

// serverLog passes the server's log on and keeps what it calls fatal, since the server
// hands out no error for it.
type serverLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	fatal string
}

func (l *serverLog) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, v...)
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("NATS server: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Warn("NATS server: " + fmt.Sprintf(format, v...))
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("NATS server: " + fmt.Sprintf(format, v...))
}

// Debugf and Tracef are never called: the server's own debug and trace are off.
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

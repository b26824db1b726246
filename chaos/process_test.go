package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"relay/internal/failpoint"
)

// patience bounds what must happen; a machine under load is slow.
const patience = time.Minute

// await waits until cond holds, and fails the test with what was awaited after limit.
func await(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	if !within(limit, cond) {
		t.Fatalf("not within %s: %s", limit, what)
	}
}

func within(limit time.Duration, cond func() bool) bool {
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
	return true
}

// child is a process that ends with the test.
type child struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	log    string // path of what it prints
	exited chan struct{}
	err    error // of Wait, once exited is closed
}

func spawn(t *testing.T, name, log string, env []string, argv ...string) *child {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := &child{t: t, name: name, cmd: exec.Command(argv[0], argv[1:]...), log: log, exited: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("the end of what %s said:\n%s", name, tail(log))
		}
	})
	return c
}

// tail is the last part of a file.
func tail(path string) string {
	const most = 6 << 10
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// said says whether the text stands in what the process printed.
func (c *child) said(text string) bool {
	all, err := os.ReadFile(c.log)
	return err == nil && strings.Contains(string(all), text)
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("send %s to %s: %v", s, c.name, err)
	}
}

// kill ends the process as a power cut would, as far as the process can tell.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
}

func (c *child) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// wait waits for the process to end by itself and returns its exit code; -1 after a
// signal.
func (c *child) wait() int {
	c.t.Helper()
	await(c.t, patience, c.name+" to end", c.ended)
	return c.cmd.ProcessState.ExitCode()
}

// relay is one relay process.
type relay struct {
	*child
	admin string
}

// relayOptions are what one process differs in; the zero value is the usual one.
type relayOptions struct {
	nats      string // default: the house's
	failpoint string // NAME:N; builds the program with fail points
	clock     string // path of a clockFile; builds the program with the clock that it moves
	env       []string
	args      []string
}

// source is the folder of the relay under test.
func source() string {
	if dir := os.Getenv("CHAOS_SOURCE"); dir != "" {
		return dir
	}
	return ".."
}

var buildPlain = sync.OnceValues(func() (string, error) { return build("relay") })

var buildClock = sync.OnceValues(func() (string, error) {
	overlay, err := clockOverlay(os.Getenv(binEnv))
	if err != nil {
		return "", fmt.Errorf("move the clock of relay: %w", err)
	}
	return build("relay-clock", "-overlay", overlay)
})

var buildFailpoints = sync.OnceValues(func() (string, error) { return build("relay-failpoints", "-tags", "failpoints") })

// build builds the program into the folder that ends with the test process.
func build(name string, flags ...string) (string, error) {
	path := filepath.Join(os.Getenv(binEnv), name)
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, "./cmd/relay")...)
	cmd.Dir = source()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build relay: %w\n%s", err, out)
	}
	return path, nil
}

// launch starts a relay process without waiting for it.
func (h *house) launch(o relayOptions) *relay {
	h.t.Helper()
	builder := buildPlain
	switch {
	case o.failpoint != "":
		builder = buildFailpoints
		o.env = append(o.env, failpoint.Env+"="+o.failpoint)
	case o.clock != "":
		builder = buildClock
		o.env = append(o.env, clockEnv+"="+o.clock)
	}
	program, err := builder()
	if err != nil {
		h.t.Fatal(err)
	}
	database := cmp.Or(h.relayDatabase, h.database)
	h.launched++
	name := fmt.Sprintf("relay-%d", h.launched)
	addr := freeAddr(h.t)
	args := append([]string{
		program, "run", "--routes", h.routesFile, "--nats", cmp.Or(o.nats, h.natsURL), "--database", database,
		"--admin", addr, "--drain", "10s", "--log-format", "json",
	}, o.args...)
	r := &relay{spawn(h.t, name, filepath.Join(h.dir, name+".log"), o.env, args...), "http://" + addr}
	h.relays = append(h.relays, r)
	return r
}

// start starts a relay process and waits until its admin server answers.
func (h *house) start(o relayOptions) *relay {
	h.t.Helper()
	r := h.launch(o)
	await(h.t, patience, r.name+" to answer", func() bool {
		if r.ended() {
			h.t.Fatalf("%s ended by itself:\n%s", r.name, tail(r.log))
		}
		status, _, err := r.get("/healthz")
		return err == nil && status == http.StatusOK
	})
	return r
}

func (r *relay) get(path string) (status int, body []byte, err error) {
	return r.do(http.MethodGet, path, "")
}

func (r *relay) do(method, path, send string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.admin+path, strings.NewReader(send))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// replay asks for replays of the dead letters of a route; more are further fields of
// the request.
func (r *relay) replay(route, more string) error {
	status, body, err := r.do(http.MethodPost, "/api/v1/replays", fmt.Sprintf(`{"filter":{"route":%q}%s}`, route, more))
	if err == nil && status >= 300 {
		err = fmt.Errorf("%d %s", status, body)
	}
	return err
}

// figures are what a process uses.
type figures struct{ goroutines, descriptors, resident int }

func (f figures) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d MiB", f.goroutines, f.descriptors, f.resident>>20)
}

// figures reads the process's own metrics; ok is false when it does not answer.
func (r *relay) figures() (f figures, ok bool) {
	m := r.metrics()
	return figures{
		goroutines: int(m["go_goroutines"]), descriptors: int(m["process_open_fds"]), resident: int(m["process_resident_memory_bytes"]),
	}, m != nil
}

// metrics are those without labels; nil when the process does not answer.
func (r *relay) metrics() map[string]float64 {
	status, body, err := r.get("/metrics")
	if err != nil || status != http.StatusOK {
		return nil
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all
}

// freeAddr is an address that nobody listened on a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

// mainEnv makes the test binary behave as the relay program.
const mainEnv = "RELAY_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is relay as a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *output
	stderr *output
	exited chan struct{}
	err    error // of Wait, once exited is closed
}

// output collects what a process prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// relay starts the program with the arguments; the test's end kills it.
func relay(t *testing.T, args ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command(os.Args[0], args...), mainEnv+"=1")
}

// startProcess starts a program with more in its environment; the test's end kills it.
func startProcess(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stdout: &output{}, stderr: &output{}, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s\n%s%s", strings.Join(cmd.Args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the process to end and returns its exit code; -1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.t.Fatalf("relay has not ended after a minute\n%s%s", p.stdout, p.stderr)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode()
	}
	return 0
}

var adminAddr = regexp.MustCompile(`admin(?:=| page +|":")(http://[0-9.:]+)`)

// admin waits until relay has said where its admin page is.
func (p *process) admin() string {
	p.t.Helper()
	var url string
	testkit.Eventually(p.t, func() bool {
		m := adminAddr.FindStringSubmatch(p.stdout.String() + p.stderr.String())
		if m != nil {
			url = m[1]
		}
		return m != nil || p.ended()
	}, "relay to say where its admin page is")
	if url == "" {
		p.t.Fatalf("relay ended\n%s%s", p.stdout, p.stderr)
	}
	return url
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// get reads a page of the admin server.
func get(t *testing.T, url string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// deadLetter is what the tests read of the API's JSON.
type deadLetter struct {
	ID              string `json:"id"`
	Route           string `json:"route"`
	State           string `json:"state"`
	Reason          string `json:"reason"`
	OriginalSubject string `json:"original_subject"`
	StreamSequence  uint64 `json:"stream_sequence"`
	RetryCount      int    `json:"retry_count"`
}

// deadLetters reads all pages of the list.
func deadLetters(t *testing.T, admin, query string) []deadLetter {
	t.Helper()
	var all []deadLetter
	for cursor := ""; ; {
		status, body := get(t, fmt.Sprintf("%s/api/v1/dead-letters?limit=100&cursor=%s&%s", admin, cursor, query))
		var page struct {
			DeadLetters []deadLetter `json:"dead_letters"`
			NextCursor  string       `json:"next_cursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil || status != http.StatusOK {
			t.Fatalf("list dead letters: %d %s", status, body)
		}
		all = append(all, page.DeadLetters...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

func writeRoutes(t *testing.T, yaml string, args ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, yaml, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// settled says whether the consumer has delivered and settled all there is.
func settled(js jetstream.JetStream, stream, consumer string) bool {
	c, err := js.Consumer(context.Background(), stream, consumer)
	return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
}

func post(t *testing.T, url, body string) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

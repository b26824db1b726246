package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"

	"relay/internal/testkit"
)

// At a terminal the keys send the last message again, show it, and quit; the terminal is
// given back as it was.
func TestListenInteractive(t *testing.T) {
	h := newHouse(t)
	route, app := testkit.NewReceiver(t, nil), testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable, http.StatusNoContent))
	file := writeRoutes(t, ordersRoute, route.URL)
	h.run(file).admin()
	h.publish(0, 1)

	terminal, screen := openTerminal(t)
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "listen", "--routes", file, "--route", "billing", "--forward-to", app.URL, "--since", "1h",
		"--output", "interactive", "--nats", h.nats.URL)
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	if err := startAt(cmd, terminal); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	key := func(k, want string) {
		t.Helper()
		if _, err := screen.in.WriteString(k); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, func() bool { return strings.Contains(screen.String(), want) }, "%q after the key %q; the screen:\n%s", want, k, screen)
	}
	key("", "→ 503")
	key("x", "keys: r sends the last message again")
	key("r", "→ 204")
	key("d", "\r\nPOST "+app.URL+"\r\n")
	key("", "webhook-signature: v1,")
	key("", "204 No Content\r\n")
	key("q", "")
	if err := cmd.Wait(); err != nil {
		t.Errorf("relay listen: %v\n%s", err, screen)
	}
	got := app.Requests()
	if len(got) != 2 || got[0].Header.Get("webhook-id") != got[1].Header.Get("webhook-id") || string(got[1].Body) != "0" {
		t.Errorf("%d requests, want the same message twice: %+v", len(got), got)
	}
	if after, err := term.GetState(int(terminal.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal was %+v and is %+v: %v", before, after, err)
	}
}

// screen is what a terminal shows, and its keyboard.
type screen struct {
	output
	in *os.File
}

// openTerminal makes a terminal and reads along.
func openTerminal(t *testing.T) (terminal *os.File, s *screen) {
	t.Helper()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s = &screen{in: master}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(s, master)
	}()
	t.Cleanup(func() {
		terminal.Close()
		master.Close()
		<-read
	})
	return terminal, s
}

func startAt(cmd *exec.Cmd, terminal *os.File) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	return cmd.Start()
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// process is this program started again in one role. It answers lines with lines, and
// ends when its stdin does, so also when this process dies.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	said   *tail
}

// start starts a role and returns when it has said its first line.
func start(name, order string) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	p := &process{cmd: exec.Command(self, asRole, name, order), said: &tail{}} //nolint:gosec,noctx // this program; it ends with its stdin
	p.cmd.Stderr = p.said
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, "", err
	}
	first, err := p.hear()
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("start %s %s: %w", name, order, err), p.stop())
	}
	return p, first, nil
}

// ask sends a line and returns the answer.
func (p *process) ask(line string) (string, error) {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return "", fmt.Errorf("ask %q: %w", line, err)
	}
	return p.hear()
}

func (p *process) hear() (string, error) {
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the process ended: %w: %s", err, p.said)
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// number asks for one number.
func (p *process) number(line string) (int64, error) {
	answer, err := p.ask(line)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer, 10, 64)
}

// stop ends the process and returns when it has ended. It has a minute for it.
func (p *process) stop() error {
	_ = p.stdin.Close() // it may be gone already
	kill := time.AfterFunc(time.Minute, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("a process of the race: %w: %s", err, p.said)
	}
	return nil
}

// usage is what a process has taken so far.
type usage struct {
	cpu            time.Duration
	peakMiB, rsMiB float64 // of memory that is resident: the most ever, and now
}

// usage reads /proc: the scheduler's clock of every thread, which counts nanoseconds,
// where that of the process ticks every 10 ms. Go's threads do not end.
func (p *process) usage() (usage, error) {
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	threads, err := filepath.Glob(dir + "/task/*/schedstat")
	if err != nil {
		return usage{}, err
	}
	var u usage
	for _, thread := range threads {
		ran, err := strconv.ParseInt(firstWord(thread), 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("read %s: %w", thread, err)
		}
		u.cpu += time.Duration(ran)
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return usage{}, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch key {
		case "VmHWM":
			u.peakMiB = kib / 1024
		case "VmRSS":
			u.rsMiB = kib / 1024
		}
	}
	return u, nil
}

// usages are what each of some processes has taken.
func usages(of ...*process) ([]usage, error) {
	all := make([]usage, len(of))
	var err error
	for i, p := range of {
		if all[i], err = p.usage(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tail keeps the end of what a process says on its stderr.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 2 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	t.last = t.last[max(0, len(t.last)-most):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}

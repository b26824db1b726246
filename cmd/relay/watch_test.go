package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"relay/internal/testkit"
)

func rewrite(t *testing.T, file, yaml string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

func ordersTo(url string) string { return strings.Replace(ordersRoute, "%s", url, 1) }

func metricIs(t *testing.T, admin, line string) bool {
	t.Helper()
	_, body := get(t, admin+"/metrics")
	return strings.Contains(string(body), "\n"+line+"\n")
}

// watches says whether the process has asked the kernel for changes of files.
func (p *process) watches() bool {
	p.t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil || len(fds) == 0 {
		p.t.Fatalf("%d descriptors: %v", len(fds), err)
	}
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, _ := os.Readlink(fd) // one that is closed by now is none
		return strings.Contains(target, "inotify")
	})
}

// A change of the file goes live by itself; one that is wrong changes nothing, and is
// told in the log, in /readyz, in the metric and to whoever asks.
func TestWatch(t *testing.T) {
	h, a, b := newHouse(t), testkit.NewReceiver(t, nil), testkit.NewReceiver(t, nil)
	file := writeRoutes(t, ordersRoute, a.URL)
	p := h.run(file, "--watch")
	admin := p.admin()
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "relay to be ready")
	h.publish(0, 3)
	a.Wait(t, 3)
	h.awaitSettled("relay-billing")

	if !p.watches() {
		t.Error("relay watches no file")
	}
	rewrite(t, file, ordersTo(b.URL))
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file in force") }, "the new file to be in force")
	h.publish(3, 3)
	b.Wait(t, 3)
	if n := len(a.Requests()); n != 3 {
		t.Errorf("%d requests to the old receiver, want 3", n)
	}

	rewrite(t, file, ordersTo(b.URL)+"    colour: red\n")
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file refused") }, "the wrong file to be refused")
	status, ready := get(t, admin+"/readyz")
	if status != http.StatusOK || !strings.Contains(string(ready), "colour") {
		t.Errorf("/readyz: %d %s, want 200 and the mistake", status, ready)
	}
	if !metricIs(t, admin, "relay_config_last_reload_successful 0") {
		t.Error("the metric does not tell of the refusal")
	}
	status, answer := post(t, admin+"/api/v1/reload", "{}")
	if status != http.StatusUnprocessableEntity || !strings.Contains(string(answer), "unknown key") {
		t.Errorf("POST reload: %d %s, want 422 and the mistake", status, answer)
	}
	h.publish(6, 3)
	b.Wait(t, 6)

	rewrite(t, file, ordersTo(a.URL))
	testkit.Eventually(t, func() bool { return metricIs(t, admin, "relay_config_last_reload_successful 1") }, "the mended file to be in force")
	h.publish(9, 3)
	a.Wait(t, 6)

	rewrite(t, file, strings.Replace(ordersTo(a.URL), "name: billing", "name: other", 1))
	testkit.Eventually(t, func() bool {
		_, list := get(t, admin+"/api/v1/routes")
		return strings.Contains(string(list), "orphan") && strings.Contains(string(list), "relay-billing")
	}, "the consumer of the route that has gone to be shown")
}

// SIGHUP asks for a reload; it ends no relay, not even one that still waits for NATS.
func TestHangupWhileWaitingForNATS(t *testing.T) {
	h := newHouse(t)
	h.nats.Stop()
	p := h.run(writeRoutes(t, ordersRoute, "http://127.0.0.1:1"))
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "waiting for NATS") }, "relay to wait")
	p.signal(syscall.SIGHUP)
	h.nats.Start(t)
	p.admin()
}

// Without --watch a change waits until somebody asks: by SIGHUP or over the API. A new
// dead-letter stream is projected from then on.
func TestReloadOnDemand(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, p *process){
		"SIGHUP": func(_ *testing.T, p *process) { p.signal(syscall.SIGHUP) },
		"API": func(t *testing.T, p *process) {
			if status, answer := post(t, p.admin()+"/api/v1/reload", "{}"); status != http.StatusOK {
				t.Errorf("POST reload: %d %s", status, answer)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, r := newHouse(t), testkit.NewReceiver(t, testkit.Status(http.StatusGone))
			file := writeRoutes(t, ordersRoute, r.URL)
			p := h.run(file)
			admin := p.admin()
			if p.watches() {
				t.Error("relay watches files without --watch; a machine may have no inotify left")
			}
			h.publish(0, 1)
			testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/api/v1/dead-letters"); return status == http.StatusOK }, "the tables")
			testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "")) == 1 }, "the first dead letter")
			rewrite(t, file, ordersTo(r.URL)+"    dead_letter: { stream: ORDERS_DLQ, subject_prefix: dead }\n")
			ask(t, p)
			testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file in force") }, "the new file to be in force")
			h.publish(1, 1)
			testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "")) == 2 }, "the dead letter of the new stream")
			testkit.Eventually(t, func() bool { return metricIs(t, admin, "relay_projection_lag 0") }, "relay_projection_lag")
		})
	}
}

// In a mounted ConfigMap the file is a link into ..data, and ..data another link that
// is swapped.
func TestWatchConfigMap(t *testing.T) {
	h, a, b := newHouse(t), testkit.NewReceiver(t, nil), testkit.NewReceiver(t, nil)
	dir := t.TempDir()
	mount := func(version, yaml string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, filepath.Join(dir, version, "routes.yaml"), yaml)
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", ordersTo(a.URL))
	if err := os.Symlink("..data/routes.yaml", filepath.Join(dir, "routes.yaml")); err != nil {
		t.Fatal(err)
	}
	p := h.run(dir, "--watch")
	p.admin()
	h.publish(0, 1)
	a.Wait(t, 1)
	mount("..2", ordersTo(b.URL))
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file in force") }, "the new file to be in force")
	h.publish(1, 1)
	b.Wait(t, 1)
}

// A folder of routes that is deleted and made anew is watched on.
func TestWatchFolderMadeAnew(t *testing.T) {
	h, a, b := newHouse(t), testkit.NewReceiver(t, nil), testkit.NewReceiver(t, nil)
	dir := filepath.Join(t.TempDir(), "routes.d")
	fill := func(url string) {
		t.Helper()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, filepath.Join(dir, "orders.yaml"), ordersTo(url))
	}
	fill(a.URL)
	p := h.run(dir, "--watch")
	p.admin()
	h.publish(0, 1)
	a.Wait(t, 1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file refused") }, "the missing folder to be told")
	fill(b.URL)
	testkit.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "routes file in force") }, "the new folder to be in force")
	h.publish(1, 1)
	b.Wait(t, 1)
}

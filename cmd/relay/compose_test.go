package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"relay/internal/testkit"
)

// composeFile is what the test reads of docker-compose.yml.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Volumes     []string
		StopGrace   string         `yaml:"stop_grace_period"`
		ReadOnly    bool           `yaml:"read_only"`
		Rest        map[string]any `yaml:",inline"`
	}
	Rest map[string]any `yaml:",inline"`
}

// The three of docker-compose.yml do their work when they are started with the settings
// that stand there, from this machine's own programs; only addresses differ.
func TestCompose(t *testing.T) {
	var c composeFile
	strict(t, "../../docker-compose.yml", &c)
	relayService := c.Services["relay"]
	drain := checkRunArgs(t, relayService.Command)
	if stop, err := time.ParseDuration(relayService.StopGrace); err != nil || stop <= drain || !relayService.ReadOnly {
		t.Errorf("stop_grace_period %s has to be above --drain %s, and the disk read-only: %v", relayService.StopGrace, drain, err)
	}
	conf, err := server.ProcessConfigFile(mounted(t, c.Services["nats"].Volumes, c.Services["nats"].Command[1]))
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.NATS(t, func(o *server.Options) {
		dir := o.StoreDir
		*o = *conf
		o.Host, o.Port, o.StoreDir, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, dir, true, true
		o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT
	})
	admin := freeAddr(t)
	hooks := strings.Replace(c.Services["receiver"].Command[1], "0.0.0.0:9000", freeAddr(t), 1)
	receiver := relay(t, c.Services["receiver"].Command[0], hooks)

	file, err := os.ReadFile(mounted(t, relayService.Volumes, relayService.Environment["RELAY_ROUTES"]))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"RELAY_ROUTES":       writeRoutes(t, "%s", strings.Replace(string(file), "receiver:9000", hooks, 1)),
		"RELAY_NATS_URL":     strings.Replace(relayService.Environment["RELAY_NATS_URL"], "nats://nats:4222", s.URL, 1),
		"RELAY_DATABASE_URL": testkit.Postgres(t),
	}
	if u := relayService.Environment["RELAY_DATABASE_URL"]; !strings.Contains(u, "@postgres:5432/"+c.Services["postgres"].Environment["POSTGRES_DB"]+"?") {
		t.Errorf("the database is %s, and the service makes another", u)
	}
	for name := range relayService.Environment {
		if settings[name] == "" {
			t.Fatalf("the test does not know %s", name)
		}
		t.Setenv(name, settings[name])
	}
	args := strings.Split(strings.Replace(strings.Join(relayService.Command, "\x00"), "0.0.0.0:8080", admin, 1), "\x00")
	relay(t, args...).admin()
	testkit.Eventually(t, func() bool {
		code, _, _ := command(t, "", "health", "--admin", admin)
		return code == exitDone
	}, "the health check of the service to succeed")
	if code, stdout, stderr := command(t, "", "send", "orders.created"); code != exitDone {
		t.Fatalf("send: exit %d\n%s%s", code, stdout, stderr)
	}
	testkit.Eventually(t, func() bool { return strings.Contains(receiver.stdout.String(), "/hooks/orders") }, "the receiver to get it")
	d := diagnose(t, exitDone, "--routes", settings["RELAY_ROUTES"], "--nats", s.URL, "--nats-monitor", s.MonitorURL())
	d.wants(t, "sync", levelOK, "always")
	d.wants(t, "routes", levelOK, "0 streams or consumers would be made or changed")

	if docker, err := exec.LookPath("docker"); err == nil && exec.Command(docker, "compose", "version").Run() == nil {
		cmd := exec.Command(docker, "compose", "config", "--quiet")
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("docker compose config: %v\n%s", err, out)
		}
	}
}

// mounted is the file of this repository that a service sees at a path.
func mounted(t *testing.T, volumes []string, path string) string {
	t.Helper()
	for _, v := range volumes {
		source, at, _ := strings.Cut(v, ":")
		if strings.TrimSuffix(at, ":ro") == path {
			return filepath.Join("../..", source)
		}
	}
	t.Fatalf("nothing is mounted at %s", path)
	return ""
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

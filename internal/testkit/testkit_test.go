package testkit_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"relay/internal/testkit"
)

func TestNATSRestartKeepsMessages(t *testing.T) {
	testkit.Leaks(t)
	s := testkit.NATS(t)
	js := s.JetStream(t)
	url := s.URL
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "orders.created", []byte("1")); err != nil {
		t.Fatal(err)
	}

	s.Restart(t)

	if s.URL != url {
		t.Errorf("URL after restart = %s, want %s", s.URL, url)
	}
	stream, err := s.JetStream(t).Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages after restart = %d, want 1", got)
	}
}

func TestClusterReplicates(t *testing.T) {
	nodes := testkit.Cluster(t)
	stream, err := nodes[0].JetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "ORDERS", Subjects: []string{"orders.>"}, Replicas: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(stream.CachedInfo().Cluster.Replicas); got != 2 {
		t.Errorf("replicas beside the leader = %d, want 2", got)
	}
}

func TestPostgresSchemasAreApart(t *testing.T) {
	a, b := connect(t, testkit.Postgres(t)), connect(t, testkit.Postgres(t))
	for _, conn := range []*pgx.Conn{a, b} {
		if _, err := conn.Exec(t.Context(), "CREATE TABLE dead_letters (id text)"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Exec(t.Context(), "INSERT INTO dead_letters VALUES ('x')"); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := b.QueryRow(t.Context(), "SELECT count(*) FROM dead_letters").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rows != 0 {
		t.Errorf("the second schema sees %d rows of the first", rows)
	}
}

func TestPostgresServerStopsAndStarts(t *testing.T) {
	pg := testkit.PostgresServer(t)
	conn := connect(t, pg.URL)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (id text)"); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"fast", "immediate"} {
		if err := pg.Stop(mode); err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.Connect(t.Context(), pg.URL); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("connect after Stop(%q) = %v, want connection refused", mode, err)
		}
		if err := pg.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := connect(t, pg.URL).Exec(t.Context(), "SELECT id FROM kept"); err != nil {
			t.Errorf("after Stop(%q) and Start: %v", mode, err)
		}
	}
}

// TestPostgresEndsWithItsProcess kills a process that has started Postgres. The
// process is this test again, told so by a variable.
func TestPostgresEndsWithItsProcess(t *testing.T) {
	const role = "TESTKIT_START_POSTGRES"
	if os.Getenv(role) != "" {
		pg, err := testkit.StartPostgres()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("url " + pg.URL + "\n")
		select {} // until killed
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), role+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, found := strings.CutPrefix(strings.TrimSpace(line), "url ")
	if err != nil || !found {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	if err := connect(t, url).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed

	testkit.Eventually(t, func() bool {
		_, err := pgx.Connect(t.Context(), url)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "Postgres ends after its process was killed")
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestReceiver(t *testing.T) {
	testkit.Leaks(t)
	r := testkit.NewReceiver(t, testkit.Status(500, 429, 200))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var got []int
	for range 4 {
		resp, err := client.Post(r.URL+"/hooks?a=1", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got = append(got, resp.StatusCode)
	}
	if want := []int{500, 429, 200, 200}; !slices.Equal(got, want) {
		t.Errorf("statuses = %v, want %v", got, want)
	}
	for i, req := range r.Wait(t, 4) {
		if req.Method != http.MethodPost || req.Path != "/hooks?a=1" || string(req.Body) != "body" || req.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("request %d = %+v", i, req)
		}
	}
}

func TestRawReceiver(t *testing.T) {
	testkit.Leaks(t)
	url := testkit.RawReceiver(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "hostile")
		_, _ = io.Copy(io.Discard, c) // until the sender or the test ends
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, len("hostile"))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hostile" {
		t.Errorf("read %q, %v", buf, err)
	}
}

func TestBrowser(t *testing.T) {
	r := testkit.NewReceiver(t, func(w http.ResponseWriter, _ testkit.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>relay</title>")
	})
	ctx, cancel := context.WithTimeout(testkit.Browser(t), time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(r.URL)); err != nil {
		t.Fatal(err)
	}
	title, err := chromedp.Run(ctx, chromedp.Title())
	if err != nil || title != "relay" {
		t.Errorf("title = %q, %v; want relay", title, err)
	}
}

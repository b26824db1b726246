package dispatcher_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The other sides of a benchmark are processes of their own, so that what they cost is
// not in relay's figures: this test binary, told by peerEnv which of the peers it is.
const peerEnv = "RELAY_BENCH_PEER"

func TestMain(m *testing.M) {
	peers := map[string]func(io.Reader, io.Writer, ...string) error{"server": serverPeer, "flood": floodPeer, "others": othersPeer, "bare": barePeer}
	role := strings.Fields(os.Getenv(peerEnv))
	if len(role) == 0 {
		os.Exit(m.Run())
	}
	if err := peers[role[0]](os.Stdin, os.Stdout, role[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, role[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}

// peer is such a process. It is told and tells what it has to in lines, and ends with
// its standard input.
type peer struct {
	b   *testing.B
	in  io.Writer
	out *bufio.Scanner
}

func startPeer(b *testing.B, role ...string) *peer {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return &peer{b, stdin, bufio.NewScanner(stdout)}
}

// line reads what the peer tells next into values.
func (p *peer) line(values ...any) {
	p.b.Helper()
	if !p.out.Scan() {
		p.b.Fatalf("a peer has ended: %v", p.out.Err())
	}
	if _, err := fmt.Sscan(p.out.Text(), values...); err != nil {
		p.b.Fatalf("a peer said %q: %v", p.out.Text(), err)
	}
}

// ask is line, after the peer has been told to.
func (p *peer) ask(values ...any) {
	p.b.Helper()
	if _, err := fmt.Fprintln(p.in); err != nil {
		p.b.Fatal(err)
	}
	p.line(values...)
}

// startPeers starts a NATS server with a receiver that answers 204 at next to no cost.
func startPeers(b *testing.B) (natsURL, hookURL string) {
	b.Helper()
	startPeer(b, "server", b.TempDir()).line(&natsURL, &hookURL)
	return natsURL, hookURL
}

func serverPeer(in io.Reader, out io.Writer, args ...string) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: args[0], NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return fmt.Errorf("NATS is not ready")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerAll(conn)
		}
	}()
	fmt.Fprintln(out, s.ClientURL(), "http://"+ln.Addr().String()+"/hook")
	_, err = io.Copy(io.Discard, in)
	s.Shutdown()
	return err
}

// inItsTime returns the STATUS of a request to /STATUS/DURATION after half to one and a
// half of the duration.
func inItsTime(r *http.Request) int {
	status, duration, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	code, _ := strconv.Atoi(status)
	if d, _ := time.ParseDuration(duration); d > 0 {
		<-time.After(d/2 + rand.N(d))
	}
	return code
}

// floodPeer is a receiver that answers inItsTime. It tells its URL, and of each message of
// the subject f.good.
func floodPeer(in io.Reader, out io.Writer, _ ...string) error {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Relay-Subject") == "f.good" {
			fmt.Fprintln(out, "good")
			return
		}
		w.WriteHeader(inItsTime(r))
	}))
	defer s.Close()
	fmt.Fprintln(out, s.URL)
	_, err := io.Copy(io.Discard, in)
	return err
}

// othersPeer publishes to o.x, 500 messages a second, and is their receiver, which answers
// inItsTime. It tells its URL, and when asked, how many it answered since it was last
// asked, and for each of them how long that took from its publishing, in nanoseconds.
func othersPeer(in io.Reader, out io.Writer, args ...string) error {
	var mu sync.Mutex
	var took []time.Duration
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var nanos int64
		if _, err := fmt.Fscan(r.Body, &nanos); err != nil {
			panic(err)
		}
		w.WriteHeader(inItsTime(r))
		mu.Lock()
		defer mu.Unlock()
		took = append(took, time.Since(time.Unix(0, nanos)))
	}))
	defer s.Close()
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	go func() {
		for range time.Tick(2 * time.Millisecond) {
			if nc.Publish("o.x", strconv.AppendInt(nil, time.Now().UnixNano(), 10)) != nil {
				return
			}
		}
	}()
	fmt.Fprintln(out, s.URL)
	for asked := bufio.NewScanner(in); asked.Scan(); {
		mu.Lock()
		since := took
		took = nil
		mu.Unlock()
		fmt.Fprintln(out, len(since))
		for _, d := range since {
			fmt.Fprintln(out, int64(d))
		}
	}
	return nil
}

// barePeer is what a person would write without relay: when told to, it delivers what is
// in the stream F to a URL until the message of f.good has been, and says so. It notes
// each refusal in the stream D; what is answered 409 comes again after two seconds, and
// what is refused otherwise goes there too.
func barePeer(in io.Reader, out io.Writer, args ...string) error {
	const inFlight = 64
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "D", Subjects: []string{"d.>"}}); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: inFlight}}
	deliver := func(m jetstream.Msg) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, args[1], bytes.NewReader(m.Data()))
		if err != nil {
			return err
		}
		req.Header.Set("Relay-Subject", m.Subject())
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode < 300 {
			return m.Ack()
		}
		if _, err := js.PublishAsync("d.attempt", m.Data()); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusConflict {
			return m.NakWithDelay(2 * time.Second)
		}
		if _, err := js.Publish(ctx, "d.dead", m.Data()); err != nil {
			return err
		}
		return m.Term()
	}
	round := func() error {
		c, err := js.CreateConsumer(ctx, "F", jetstream.ConsumerConfig{Durable: "bare", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000})
		if err != nil {
			return err
		}
		messages, failed := make(chan jetstream.Msg), make(chan error, inFlight+1)
		var workers sync.WaitGroup
		for range inFlight {
			workers.Go(func() {
				for m := range messages {
					err := deliver(m)
					if err != nil || m.Subject() == "f.good" {
						failed <- err
					}
				}
			})
		}
		consume, err := c.Consume(func(m jetstream.Msg) { messages <- m }, jetstream.PullMaxMessages(2*inFlight))
		if err != nil {
			return err
		}
		err = <-failed
		consume.Drain()
		<-consume.Closed()
		close(messages)
		workers.Wait()
		return errors.Join(err, js.DeleteConsumer(ctx, "F", "bare"))
	}
	for told := bufio.NewScanner(in); told.Scan(); {
		if err := round(); err != nil {
			return err
		}
		fmt.Fprintln(out, "done")
	}
	return nil
}

// answerAll answers 204 to every request of a kept connection, at next to no cost.
func answerAll(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 16<<10)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
			if name := "content-length:"; len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
				length, _ = strconv.Atoi(strings.TrimSpace(string(line[len(name):])))
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
			return
		}
	}
}

package webhook_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"relay/internal/testkit"
	"relay/internal/webhook"
	"relay/routes"
)

// TestMain sets the environment's proxies, which are nobody's business: every test that
// sends to a name would fail through them.
func TestMain(m *testing.M) {
	_ = os.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_ = os.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	goleak.VerifyTestMain(m)
}

// short is the timeout of attempts that are to run into it.
const short = 300 * time.Millisecond

// peer is one connection of a raw receiver.
type peer struct {
	*net.TCPConn
	r    *bufio.Reader
	done <-chan struct{} // closed at the end of the test
}

// request reads one whole request, and says whether there was one.
func (p peer) request() (*http.Request, bool) {
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, false
	}
	for buf := make([]byte, 4096); err == nil; {
		_, err = req.Body.Read(buf)
	}
	return req, true
}

// say writes until the connection or the test ends, and says whether it went out.
func (p peer) say(s string) bool {
	_, err := p.Write([]byte(s))
	return err == nil
}

// drip writes s again and again, a byte every few milliseconds.
func (p peer) drip(s string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-p.done:
			return
		}
		if !p.say(s[i%len(s) : i%len(s)+1]) {
			return
		}
	}
}

// flood writes s again and again until nobody reads it.
func (p peer) flood(s string) {
	s = strings.Repeat(s, 1+1000/len(s))
	for p.say(s) {
	}
}

// hang waits for the other side to close.
func (p peer) hang() {
	_, _ = p.r.Discard(1 << 30)
}

// reset closes with RST.
func (p peer) reset() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

// rawReceiver serves TCP: handle has each connection until it returns.
func rawReceiver(t *testing.T, handle func(peer)) (url string) {
	t.Helper()
	done := make(chan struct{})
	url = testkit.RawReceiver(t, func(c net.Conn) { handle(peer{c.(*net.TCPConn), bufio.NewReader(c), done}) })
	t.Cleanup(func() { close(done) })
	return url
}

// answering is a raw receiver's way to read one request and answer with what follows.
func answering(then func(peer)) func(peer) {
	return func(p peer) {
		if _, ok := p.request(); ok {
			then(p)
		}
	}
}

func TestSendHostileReceivers(t *testing.T) {
	status := func(s string) func(peer) {
		return answering(func(p peer) { p.say(s); p.hang() })
	}
	tests := []struct {
		name   string
		handle func(peer)
		status int
		class  webhook.Class
		body   string // where it matters
	}{
		{name: "close at once", handle: func(peer) {}, class: webhook.ClassReset},
		{name: "close before the answer", handle: answering(func(peer) {}), class: webhook.ClassReset},
		{name: "reset before the answer", handle: answering(peer.reset), class: webhook.ClassReset},
		{name: "close within the headers", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\nA: b\r\n") }), class: webhook.ClassReset},
		{name: "silence", handle: answering(peer.hang), class: webhook.ClassTimeoutHeaders},
		{name: "never reads", handle: func(p peer) { <-p.done }, class: webhook.ClassTimeoutHeaders},
		{name: "headers drip", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\n"); p.drip("A: b\r\n") }), class: webhook.ClassTimeoutHeaders},
		{name: "one header without end", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\nA: "); p.flood(strings.Repeat("a", 1024)) }), class: webhook.ClassHeaderTooLarge},
		{name: "headers without end", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\n"); p.flood("A: b\r\n") }), class: webhook.ClassHeaderTooLarge},
		{name: "informational answers without end", handle: answering(func(p peer) { p.flood("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") }), class: webhook.ClassHeaderTooLarge},
		{name: "informational answers drip", handle: answering(func(p peer) { p.drip("HTTP/1.1 102 Processing\r\n\r\n") }), class: webhook.ClassTimeoutHeaders},
		{name: "status line without end", handle: answering(func(p peer) { p.flood("HTTP/1.1 200 OK and ") }), class: webhook.ClassHeaderTooLarge},
		{name: "garbage", handle: status("\x00\x01\x02 whatever\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "another protocol", handle: status("220 mail.example.com ESMTP\r\n"), class: webhook.ClassMalformed},
		{name: "status is no number", handle: status("HTTP/1.1 abc OK\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "status below 100", handle: status("HTTP/1.1 099 Low\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "status zero", handle: status("HTTP/1.1 000 None\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "header without colon", handle: status("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "content length is no number", handle: status("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "two content lengths", handle: status("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "unknown transfer encoding", handle: status("HTTP/1.1 200 OK\r\nTransfer-Encoding: zip\r\n\r\n"), class: webhook.ClassMalformed},
		{name: "upgrade", handle: status("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), class: webhook.ClassUpgrade},
		{name: "upgrade and a stream", handle: answering(func(p peer) { p.say("HTTP/1.1 101 S\r\n\r\n"); p.flood("data") }), class: webhook.ClassUpgrade},

		{name: "hints, then an answer", handle: status("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"), status: 202},
		{name: "no reason phrase", handle: status("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), status: 200},
		{name: "HTTP/1.0", handle: answering(func(p peer) { p.say("HTTP/1.0 200 OK\r\n\r\nfine") }), status: 200, body: "fine"},
		{name: "status 600", handle: status("HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n"), status: 600},
		{name: "status 999", handle: status("HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n"), status: 999},
		{name: "redirect", handle: status("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"), status: 302},
		{name: "redirect that keeps the method", handle: status("HTTP/1.1 308 P\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), status: 308},
		{name: "204 with a body", handle: status("HTTP/1.1 204 No Content\r\n\r\nsomething"), status: 204},
		{name: "body cut short", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") }), status: 200, body: "half"},
		{name: "body reset", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"); p.reset() }), status: 200},
		{name: "body never comes", handle: status("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"), status: 200},
		{name: "body drips", handle: answering(func(p peer) { p.say("HTTP/1.1 200 OK\r\n\r\n"); p.drip("x") }), status: 200},
		{name: "body without end", handle: answering(func(p peer) { p.say("HTTP/1.1 500 E\r\n\r\n"); p.flood(strings.Repeat("x", 1000)) }), status: 500, body: strings.Repeat("x", webhook.MaxBodyBytes)},
		{name: "chunks are garbage", handle: status("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), status: 200},
		{name: "chunk larger than can be", handle: status("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), status: 200},
		{name: "trailers without end", handle: answering(func(p peer) {
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
			p.flood("A: b\r\n")
		}), status: 200},
		{name: "says it is gzip", handle: status("HTTP/1.1 422 U\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"), status: 422, body: "\x1f\x8b\x08\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := route(rawReceiver(t, tt.handle))
			r.Webhook.Timeout = time.Hour // none of these needs it, but for those that time out
			if tt.class == webhook.ClassTimeoutHeaders {
				r.Webhook.Timeout = short
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			answer := newSender(t, r).Send(ctx, message())
			if ctx.Err() != nil {
				t.Fatal("Send did not end by itself")
			}
			if tt.class != "" {
				wantClass(t, answer, tt.class)
				return
			}
			if answer.Err != nil || answer.Status != tt.status {
				t.Fatalf("status %d, err %v; want status %d", answer.Status, answer.Err, tt.status)
			}
			if tt.body != "" && string(answer.Body) != tt.body {
				t.Errorf("body = %.80q (%d bytes), want %.80q", answer.Body, len(answer.Body), tt.body)
			}
			if len(answer.Body) > webhook.MaxBodyBytes {
				t.Errorf("%d bytes of body were kept", len(answer.Body))
			}
		})
	}
}

func wantClass(t *testing.T, answer webhook.Answer, class webhook.Class) {
	t.Helper()
	if answer.Err == nil || answer.Err.Class != class || answer.Status != 0 {
		t.Fatalf("status %d, err %v; want the class %s", answer.Status, answer.Err, class)
	}
	if text := answer.Err.Error(); strings.Contains(text, "t0ken") || strings.Contains(text, "query") || len(text) > 400 {
		t.Errorf("error text tells too much: %s", text)
	}
}

// A receiver may refuse a body by its headers and close, with the rest unread.
func TestSendEarlyAnswer(t *testing.T) {
	headersOnly := func(p peer) bool {
		for line := "-"; line != "\r\n"; {
			var err error
			if line, err = p.r.ReadString('\n'); err != nil {
				return false
			}
		}
		return true
	}
	const refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge"
	tests := map[string]func(peer){
		"and reads on": func(p peer) {
			if headersOnly(p) && p.say(refusal) {
				p.hang()
			}
		},
		"and stops reading": func(p peer) {
			if headersOnly(p) && p.say(refusal) {
				<-p.done
			}
		},
		"and closes": func(p peer) {
			if headersOnly(p) {
				p.say(refusal)
			}
		},
	}
	for name, handle := range tests {
		t.Run(name, func(t *testing.T) {
			r := route(rawReceiver(t, handle))
			s := newSender(t, r)
			m := message()
			m.Body = make([]byte, 8<<20)
			for range 20 {
				answer := s.Send(context.Background(), m)
				if answer.Status != 413 || string(answer.Body) != "large" {
					t.Fatalf("answer = %d %q, %v; want 413", answer.Status, answer.Body, answer.Err)
				}
			}
		})
	}
}

// What a receiver sends beyond its answer is never the answer to the next message.
func TestSendExtraAnswer(t *testing.T) {
	closed := make(chan struct{}, 10)
	s := newSender(t, route(rawReceiver(t, func(p peer) {
		for {
			req, ok := p.request()
			if !ok {
				closed <- struct{}{}
				return
			}
			p.say("HTTP/1.1 " + req.Header.Get("Relay-Attempt") + " S\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})))
	for _, status := range []int{201, 500, 404, 202} {
		m := message()
		m.Attempt = status // what the receiver answers
		if answer := s.Send(context.Background(), m); answer.Status != status {
			t.Fatalf("answer = %d, %v; want %d", answer.Status, answer.Err, status)
		}
		<-closed // the connection was given up
	}
}

// A receiver that closes kept connections must never see an attempt twice.
func TestSendKeepAliveRace(t *testing.T) {
	for name, body := range map[string]string{"with a body": `{"a":1}`, "without a body": ""} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var seen []string
			url := rawReceiver(t, func(p peer) {
				for range 2 {
					req, ok := p.request()
					if !ok {
						return
					}
					mu.Lock()
					seen = append(seen, req.Header.Get("Webhook-Id"))
					mu.Unlock()
					p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				// Closed without a word, as the next request may be on its way.
			})
			r := route(url)
			r.Webhook.IdempotencyKey = true // must not make net/http resend either
			s := newSender(t, r)
			delivered := 0
			for i := range 300 {
				m := message()
				m.ID, m.Body = fmt.Sprint("msg_", i), []byte(body)
				answer := s.Send(context.Background(), m)
				switch {
				case answer.Status == 200:
					delivered++
				case answer.Err.Class != webhook.ClassReset:
					t.Fatalf("attempt %d: %v", i, answer.Err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(seen)
			if unique := len(slices.Compact(slices.Clone(seen))); unique != len(seen) {
				t.Errorf("%d requests for %d attempts: some were sent twice", len(seen), unique)
			}
			if delivered != len(seen) {
				t.Errorf("%d delivered, %d seen", delivered, len(seen))
			}
			t.Logf("%d of 300 delivered", delivered)
		})
	}
}

// A request that a receiver read and did not answer is not sent again by itself, on a
// kept connection or a new one.
func TestSendOnce(t *testing.T) {
	tests := []struct {
		name, body string
		change     func(*routes.Webhook)
	}{
		{"with a body", `{"a":1}`, func(*routes.Webhook) {}},
		{"without a body", "", func(*routes.Webhook) {}},
		{"with a body and a key", `{"a":1}`, func(w *routes.Webhook) { w.IdempotencyKey = true }},
		{"without a body and with a key", "", func(w *routes.Webhook) { w.IdempotencyKey = true }},
		{"with a key of the message", `{"a":1}`, func(w *routes.Webhook) { w.ForwardHeaders = []string{"*"} }},
		{"with a key of the route", `{"a":1}`, func(w *routes.Webhook) { w.Headers = map[string]string{"Idempotency-Key": "k"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var seen []string
			r := route(rawReceiver(t, func(p peer) {
				for {
					req, ok := p.request()
					if !ok {
						return
					}
					mu.Lock()
					seen = append(seen, req.Header.Get("Webhook-Id"))
					mu.Unlock()
					if req.Header.Get("Relay-Attempt") == "2" {
						return
					}
					p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}))
			tt.change(&r.Webhook)
			s := newSender(t, r)
			first, second := message(), message()
			first.Attempt, second.ID, second.Body = 1, "msg_second", []byte(tt.body)
			second.Headers = map[string][]string{"X-Idempotency-Key": {"k"}}
			if answer := s.Send(context.Background(), first); answer.Status != 200 {
				t.Fatalf("first: %+v", answer)
			}
			wantClass(t, s.Send(context.Background(), second), webhook.ClassReset)
			mu.Lock()
			defer mu.Unlock()
			if want := []string{first.ID, second.ID}; !slices.Equal(seen, want) {
				t.Errorf("receiver saw %q, want %q", seen, want)
			}
		})
	}
}

// A kept connection that ended before a byte of the request was written is no attempt:
// the request goes out on a new one.
func TestSendStaleConnection(t *testing.T) {
	for name, end := range map[string]func(peer){"closed": func(peer) {}, "reset": peer.reset} {
		t.Run(name, func(t *testing.T) {
			stale := make(chan struct{})
			s := newSender(t, route(rawReceiver(t, func(p peer) {
				if _, ok := p.request(); ok {
					p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					<-stale
					end(p)
				}
			})))
			if answer := s.Send(context.Background(), message()); answer.Status != 200 {
				t.Fatalf("first: %+v", answer)
			}
			// The connection ends between its choice and its use.
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if !info.Reused {
					return
				}
				close(stale)
				eventually(t, func() error {
					if info.Conn.SetDeadline(time.Time{}) == nil {
						return errors.New("net/http has not noticed the end")
					}
					return nil
				})
			}})
			if answer := s.Send(ctx, message()); answer.Status != 200 {
				t.Errorf("second: %d, %v; want 200", answer.Status, answer.Err)
			}
		})
	}
}

func TestSendCanceled(t *testing.T) {
	reached := make(chan struct{})
	s := newSender(t, route(rawReceiver(t, answering(func(p peer) { close(reached); p.hang() }))))
	stop := errors.New("draining")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { <-reached; cancel(stop) }()
	answer := s.Send(ctx, message())
	wantClass(t, answer, webhook.ClassCanceled)
	if !errors.Is(answer.Err, stop) {
		t.Errorf("err = %v, want the caller's cause", answer.Err)
	}
	wantClass(t, s.Send(ctx, message()), webhook.ClassCanceled)
	s.Close()
	wantClass(t, s.Send(context.Background(), message()), webhook.ClassCanceled)
}

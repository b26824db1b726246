package webhook_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"relay/internal/webhook"
)

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
	for name, engine := range engines(t) {
		for _, tt := range tests {
			t.Run(name+": "+tt.name, func(t *testing.T) {
				t.Parallel()
				r := engine(t, tt.handle)
				r.Webhook.Timeout = time.Hour // none of these needs it, but for those that time out
				if tt.class == webhook.ClassTimeoutHeaders {
					r.Webhook.Timeout = short
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				answer := sendInTime(ctx, t, r, message())
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
	for how, engine := range engines(t) {
		for name, handle := range tests {
			t.Run(how+" "+name, func(t *testing.T) {
				s := newSender(t, engine(t, handle))
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
}

func TestSendCanceled(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			reached := make(chan struct{})
			s := newSender(t, engine(t, answering(func(p peer) { close(reached); p.hang() })))
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
		})
	}
}

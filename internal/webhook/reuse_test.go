package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

// No more connections are open at once than the route's concurrency, however many
// messages are sent at once, and they are used again.
func TestSendConnections(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			var opened atomic.Int32
			r := engine(t, func(p peer) {
				opened.Add(1)
				for {
					if _, ok := p.request(); !ok || !p.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") {
						return
					}
				}
			})
			s := newSender(t, r)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					for size := range 10 {
						m := message()
						m.Body = bytes.Repeat([]byte("x"), size*10_000)
						if answer := s.Send(context.Background(), m); answer.Status != 200 || string(answer.Body) != "ok" {
							t.Errorf("answer = %d %q, %v", answer.Status, answer.Body, answer.Err)
						}
					}
				})
			}
			all.Wait()
			if n := int(opened.Load()); n > r.Concurrency {
				t.Errorf("%d connections were opened, want %d", n, r.Concurrency)
			}
		})
	}
}

// What a receiver sends beyond its answer, or beyond what is read of it, is never the
// answer to the next message.
func TestSendLeftOver(t *testing.T) {
	for how, engine := range engines(t) {
		for name, rest := range map[string]string{
			"another answer": "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"a long body":    "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 200_000),
			"a late body":    "Content-Length: 2\r\n\r\n",
		} {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				closed := make(chan struct{}, 10)
				s := newSender(t, engine(t, func(p peer) {
					for {
						req, ok := p.request()
						if !ok {
							closed <- struct{}{}
							return
						}
						p.say("HTTP/1.1 " + req.Header.Get("Relay-Attempt") + " S\r\n" + rest)
					}
				}))
				for _, status := range []int{201, 500, 404, 202} {
					m := message()
					m.Attempt = status // what the receiver answers
					if answer := s.Send(context.Background(), m); answer.Status != status {
						t.Fatalf("answer = %d, %v; want %d", answer.Status, answer.Err, status)
					}
					<-closed // the connection was given up
				}
			})
		}
	}
}

// A connection on which a receiver changed to another protocol is given up.
func TestSendAfterUpgrade(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{}, 1)
			s := newSender(t, engine(t, answering(func(p peer) {
				p.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
				p.hang()
				closed <- struct{}{}
			})))
			for range 2 {
				wantClass(t, s.Send(context.Background(), message()), webhook.ClassUpgrade)
				<-closed
			}
		})
	}
}

// A receiver that closes kept connections must never see an attempt twice.
func TestSendKeepAliveRace(t *testing.T) {
	for how, engine := range engines(t) {
		for name, body := range map[string]string{"with a body": `{"a":1}`, "without a body": ""} {
			t.Run(how+" "+name, func(t *testing.T) {
				var mu sync.Mutex
				var seen []string
				r := engine(t, func(p peer) {
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
}

// A request that a receiver read and did not answer is not sent again by itself, on a
// kept connection or a new one.
func TestSendOnce(t *testing.T) {
	tests := []struct {
		name, body string
		change     func(*routes.Webhook)
		end        func(peer)
	}{
		{"with a body", `{"a":1}`, func(*routes.Webhook) {}, func(peer) {}},
		{"with a body, reset", `{"a":1}`, func(*routes.Webhook) {}, peer.reset},
		{"without a body", "", func(*routes.Webhook) {}, func(peer) {}},
		{"without a body, reset", "", func(*routes.Webhook) {}, peer.reset},
		{"with a body and a key", `{"a":1}`, func(w *routes.Webhook) { w.IdempotencyKey = true }, func(peer) {}},
		{"without a body and with a key", "", func(w *routes.Webhook) { w.IdempotencyKey = true }, func(peer) {}},
		{"with a key of the message", `{"a":1}`, func(w *routes.Webhook) { w.ForwardHeaders = []string{"*"} }, func(peer) {}},
		{"with a key of the route", `{"a":1}`, func(w *routes.Webhook) { w.Headers = map[string]string{"Idempotency-Key": "k"} }, func(peer) {}},
	}
	for how, engine := range engines(t) {
		for _, tt := range tests {
			t.Run(how+" "+tt.name, func(t *testing.T) {
				var mu sync.Mutex
				var seen []string
				r := engine(t, func(p peer) {
					for {
						req, ok := p.request()
						if !ok {
							return
						}
						mu.Lock()
						seen = append(seen, req.Header.Get("Webhook-Id"))
						mu.Unlock()
						if req.Header.Get("Relay-Attempt") == "2" {
							tt.end(p)
							return
						}
						p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
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
}

// A kept connection that ended before a byte of the request was written is no attempt:
// the request goes out on a new one. TestHTTP1Kept has relay's own engine.
func TestSendStaleConnection(t *testing.T) {
	engine := engines(t)["net/http"]
	for name, end := range map[string]func(peer){"closed": func(peer) {}, "reset": peer.reset} {
		t.Run(name, func(t *testing.T) {
			stale := make(chan struct{})
			s := newSender(t, engine(t, func(p peer) {
				if _, ok := p.request(); ok {
					p.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					<-stale
					end(p)
				}
			}))
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

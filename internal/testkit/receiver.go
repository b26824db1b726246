package testkit

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Request is one request as a Receiver got it.
type Request struct {
	Method string
	Path   string // with the query
	Host   string
	Header http.Header
	Body   []byte
	At     time.Time // when its body had been read
}

// Answer answers a request whose body has been read.
type Answer func(w http.ResponseWriter, r Request)

// Status answers with the statuses in turn; the last one repeats.
func Status(codes ...int) Answer {
	var mu sync.Mutex
	return func(w http.ResponseWriter, _ Request) {
		mu.Lock()
		code := codes[0]
		if len(codes) > 1 {
			codes = codes[1:]
		}
		mu.Unlock()
		w.WriteHeader(code)
	}
}

// Receiver is an HTTP server that keeps every request in the order of arrival. Its
// methods may be called from any goroutine.
type Receiver struct {
	// URL of the receiver, without a path.
	URL string

	srv      *httptest.Server
	mu       sync.Mutex
	answer   Answer
	requests []Request
}

// NewReceiver starts a receiver. A nil answer is 204 to everything.
func NewReceiver(t testing.TB, answer Answer) *Receiver {
	t.Helper()
	r := &Receiver{answer: answer}
	r.srv = httptest.NewServer(http.HandlerFunc(r.serve))
	r.URL = r.srv.URL
	t.Cleanup(func() {
		r.srv.CloseClientConnections() // else Close waits for clients that keep theirs
		r.srv.Close()
	})
	return r
}

func (r *Receiver) serve(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return // the sender gave up in the middle: not a request
	}
	req := Request{
		Method: hr.Method, Path: hr.URL.RequestURI(), Host: hr.Host,
		Header: hr.Header, Body: body, At: time.Now(),
	}
	r.mu.Lock()
	r.requests = append(r.requests, req)
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		answer = Status(http.StatusNoContent)
	}
	answer(w, req)
}

// Answer sets what the requests from now on get.
func (r *Receiver) Answer(answer Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// Requests returns those received so far, in order of arrival.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.requests...)
}

// Wait waits for at least n requests and returns all there are then.
func (r *Receiver) Wait(t testing.TB, n int) []Request {
	t.Helper()
	var got []Request
	arrived := within(patience, func() bool {
		got = r.Requests()
		return len(got) >= n
	})
	if !arrived {
		t.Fatalf("receiver: %d requests within %s, want %d", len(got), patience, n)
	}
	return got
}

// RawReceiver listens for TCP connections and hands each to handle in a goroutine of
// its own, for answers that net/http would not give. It returns its http:// URL. The
// connection is closed when handle returns, and when the test ends.
func RawReceiver(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("raw receiver: %v", err)
	}
	// What is open when ctx ends is closed, and so is what comes after.
	ctx, end := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		end()
		done.Wait()
	})
	return "http://" + l.Addr().String()
}

package chaos_test

import (
	"crypto/sha256"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"relay/chaos/ledger"
)

// reply is what a receiver does with one request.
type reply struct {
	status int
	after  time.Duration
	// raw, when set, answers on the bare connection, which is closed after it; status
	// then says what a client can make of it, 0 for nothing.
	raw func(c net.Conn)
}

// script says how the nth request of a delivery is answered, from 1.
type script func(q ledger.Request, nth int) reply

// receiver is the apps behind all routes, and keeps what the ledger needs of each
// request.
type receiver struct {
	srv    *httptest.Server
	closed chan struct{} // ends waits for late answers

	mu       sync.Mutex
	script   script
	requests []ledger.Request
	at       []time.Time // when each request came
	count    map[ledger.Key]int
	answered int // of the requests
}

func newReceiver(h *house) *receiver {
	r := &receiver{script: h.mixed, closed: make(chan struct{}), count: map[ledger.Key]int{}}
	r.srv = httptest.NewServer(http.HandlerFunc(r.serve))
	h.t.Cleanup(func() {
		close(r.closed)
		r.srv.CloseClientConnections()
		r.srv.Close()
	})
	return r
}

// answer puts another script in force.
func (r *receiver) answer(s script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = s
}

func (r *receiver) serve(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return // cut off in the middle: no app would act on it
	}
	q := ledger.Request{
		Key:     ledger.Key{Route: strings.TrimPrefix(hr.URL.Path, "/"), Subject: hr.Header.Get("relay-subject")},
		ID:      hr.Header.Get("webhook-id"),
		Stream:  hr.Header.Get("relay-stream"),
		Replay:  hr.Header.Get("relay-replay-of") != "",
		Sum:     sha256.Sum256(body),
		Attempt: number(hr.Header.Get("relay-attempt")),
	}
	q.Sequence, _ = strconv.ParseUint(hr.Header.Get("relay-stream-sequence"), 10, 64)
	i, a := r.note(q)
	if a.after > 0 {
		select {
		case <-time.After(a.after):
		case <-r.closed:
			return
		}
	}
	r.mu.Lock()
	r.requests[i].Status = a.status
	r.answered++
	r.mu.Unlock()
	if a.raw == nil {
		w.WriteHeader(a.status)
		return
	}
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		a.raw(conn)
		_ = conn.Close()
	}
}

// note keeps the request and asks the script for its answer.
func (r *receiver) note(q ledger.Request) (index int, a reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.at = append(r.requests, q), append(r.at, time.Now())
	r.count[q.Key]++
	return len(r.requests) - 1, r.script(q, r.count[q.Key])
}

// since returns the requests from the nth on, from 0.
func (r *receiver) since(n int) []ledger.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests[n:])
}

// open is how many requests wait for their answer.
func (r *receiver) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests) - r.answered
}

func (r *receiver) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// dice throws for a delivery: the same number each time, another with another seed.
func (h *house) dice(k ledger.Key) uint32 {
	sum := fnv.New32a()
	_, _ = sum.Write(strconv.AppendUint([]byte(k.Route+" "+k.Subject+" "), h.seed, 10))
	return sum.Sum32()
}

// deadly is how many of 100 deliveries no receiver takes on an ordinary day.
const deadly = 14

// mixed is how receivers answer on an ordinary day: most messages are taken, some
// after failures, and some never.
func (h *house) mixed(q ledger.Request, nth int) reply {
	d := h.dice(q.Key)
	a := reply{status: http.StatusNoContent, after: time.Duration(d>>8%20) * time.Millisecond}
	if q.Replay {
		if d%3 == 0 {
			a.status = http.StatusGone
		}
		return a
	}
	switch n := d % 100; {
	case n < 8:
		a.status = http.StatusUnprocessableEntity // dead at once
	case n < deadly:
		a.status = http.StatusNotFound // dead when its attempts are used up
	case n < 24 && nth <= 2:
		a.status = http.StatusConflict
	case n < 30 && nth == 1:
		a.status = http.StatusServiceUnavailable
	}
	return a
}

// slower is mixed, with receivers that take so much longer.
func (h *house) slower(by time.Duration) script {
	return func(q ledger.Request, nth int) reply {
		a := h.mixed(q, nth)
		a.after += by
		return a
	}
}

// always answers everything alike.
func always(status int) script {
	return func(ledger.Request, int) reply { return reply{status: status} }
}

package webhook

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/idna"
)

// http1 posts to one receiver over HTTP/1.1, without TLS and without a proxy. net/http
// keeps two goroutines beside each connection; here the one that sends also writes and
// reads, which halves the CPU time of a message (docs/decisions/0012-http-engine.md).
type http1 struct {
	head   []byte // the request line and Host, the same in every request
	dial   func(ctx context.Context) (net.Conn, error)
	places chan struct{} // holds one for each connection in use

	mu      sync.Mutex
	kept    []*wire     // idle connections, the last used at the end
	sweeper *time.Timer // set while there may be some
}

// newHTTP1 returns the way to the template's URL over at most so many connections.
func newHTTP1(template *http.Request, most int, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*http1, error) {
	var request bytes.Buffer
	if err := template.Write(&request); err != nil {
		return nil, errors.New("webhook.url holds what an HTTP request cannot carry")
	}
	lines := bytes.SplitAfterN(request.Bytes(), []byte("\r\n"), 3)
	address := dialAddress(template.URL)
	return &http1{
		head:   slices.Concat(lines[0], lines[1]),
		dial:   func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", address) },
		places: make(chan struct{}, most),
	}, nil
}

// dialAddress is where net/http would connect to for an http URL.
func dialAddress(u *url.URL) string {
	host := u.Hostname()
	if slices.ContainsFunc([]byte(host), func(c byte) bool { return c >= 0x80 }) {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			host = ascii
		}
	}
	return net.JoinHostPort(host, cmp.Or(u.Port(), "80"))
}

// post sends the request once and returns its connection when the answer's headers are
// read; closing the answer's body gives the connection back. An error tells in which
// phase it came.
func (h *http1) post(ctx context.Context, end time.Time, header fields, body []byte) (*wire, phase, error) {
	for {
		w, reused, err := h.take(ctx, end)
		if err != nil {
			return nil, phaseDial, err
		}
		if err = w.exchange(ctx, header, body, end); err == nil {
			return w, phaseHeaders, nil
		}
		w.finish(false)
		// A kept connection that broke before a byte was written has told the receiver
		// nothing.
		if !reused || w.sent || !isBroken(err) {
			return nil, phaseHeaders, err
		}
	}
}

// take returns a connection that is the caller's until its finish, with the deadline set.
func (h *http1) take(ctx context.Context, end time.Time) (w *wire, reused bool, err error) {
	if err := h.enter(ctx, end); err != nil {
		return nil, false, err
	}
	if w := h.reuse(end); w != nil {
		return w, true, nil
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	conn, err := h.dial(ctx)
	if err == nil {
		w, err = newWire(h, conn, end)
	}
	if err != nil {
		<-h.places
	}
	return w, false, err
}

// enter waits for a place among the connections in use.
func (h *http1) enter(ctx context.Context, end time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.places <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	select {
	case h.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reuse returns the connection used last, of those that are not old and on which
// nothing has come since; nil: there is none.
func (h *http1) reuse(end time.Time) *wire {
	for {
		h.mu.Lock()
		last := len(h.kept) - 1
		if last < 0 {
			h.mu.Unlock()
			return nil
		}
		w := h.kept[last]
		h.kept = slices.Delete(h.kept, last, last+1)
		h.mu.Unlock()
		if time.Since(w.born) < connLifetime && w.conn.SetDeadline(end) == nil && w.quiet() {
			return w
		}
		_ = w.conn.Close()
	}
}

// keep takes a connection back that can be used again.
func (h *http1) keep(w *wire) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.since = time.Now()
	h.kept = append(h.kept, w)
	if h.sweeper == nil {
		h.sweeper = time.AfterFunc(idleTimeout, h.sweep)
	}
}

// sweep closes what lay idle too long.
func (h *http1) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeper = nil
	for len(h.kept) > 0 {
		if left := idleTimeout - time.Since(h.kept[0].since); left > 0 {
			h.sweeper = time.AfterFunc(left, h.sweep)
			return
		}
		_ = h.kept[0].conn.Close()
		h.kept = slices.Delete(h.kept, 0, 1)
	}
}

// closeIdle closes the connections that are not in use.
func (h *http1) closeIdle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.kept {
		_ = w.conn.Close()
	}
	h.kept = nil
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
}

package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxHeaderBytes = 64 << 10 // of an answer, its informational ones included
	// idleTimeout closes a connection that nothing used. Short, because a connection
	// that its receiver is about to close costs an attempt.
	idleTimeout = 30 * time.Second
	// An HTTP/2 connection that is silent for pingAfter is asked for a sign of life
	// and closed after pingTimeout without one.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
)

func parseTarget(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("webhook.url is not a URL") // the error would quote it
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, errors.New("webhook.url begins with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("webhook.url holds no credentials; they belong under webhook.auth")
	}
	u.Fragment = ""
	return u, nil
}

func parseProxy(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, nil //nolint:nilnil // no proxy is not an error
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, errors.New("webhook.proxy is a URL with a host")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, nil
	default:
		return nil, fmt.Errorf("webhook.proxy is an http, https or socks5 URL, not %q", u.Scheme)
	}
}

// newDialer returns the only way by which connections are made: every address is
// judged by the guard after it was looked up, when it is dialed. Its timeout ends
// dials that outlive their attempt, and shares out the time among several addresses.
func newDialer(timeout time.Duration, g *guard, r *net.Resolver) *net.Dialer {
	return &net.Dialer{Timeout: timeout, Resolver: r, Control: g.control}
}

func (s *Sender) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := s.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn keeps a failed write to itself once part of a request is out. A receiver may
// answer early (413 to a large body) and close with the rest unread; net/http would
// give up at the write error with the answer lying there to be read. Reading says how
// it ended: with the answer, or with the end of the connection.
type conn struct {
	net.Conn
	sent atomic.Bool // something of the present request was written
}

// begin notes that a request will be written. c is what net/http calls the connection.
func begin(c net.Conn) {
	for {
		switch layer := c.(type) {
		case *tls.Conn:
			c = layer.NetConn()
		case *conn:
			layer.sent.Store(false)
			return
		default:
			return
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	switch {
	case err == nil:
		c.sent.Store(true)
	case c.sent.Load() && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)):
		return len(p), nil
	}
	return n, err
}

func (s *Sender) newTransport(tlsConfig *tls.Config) *http.Transport {
	t := &http.Transport{
		DialContext:            s.dial,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    s.route.Webhook.Timeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    max(1, s.route.Concurrency),
		MaxConnsPerHost:        max(1, s.route.Concurrency),
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        8 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	if s.proxy != nil {
		t.Proxy = http.ProxyURL(s.proxy)
		t.OnProxyConnectResponse = checkProxy
	}
	return t
}

// proxyRefusal is a proxy's answer to CONNECT.
type proxyRefusal int

func (p proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy answered CONNECT with %d", int(p))
}

func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return proxyRefusal(resp.StatusCode)
	}
	return nil
}

// phase is how far an attempt has come.
type phase int32

const (
	phaseDial    phase = iota // waiting for a connection
	phaseTLS                  // in the handshake
	phaseHeaders              // sending, or waiting for the answer's headers
)

// progress follows the phases of one attempt.
type progress struct{ at atomic.Int32 }

func (p *progress) phase() phase { return phase(p.at.Load()) }

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// A handshake may go on for a later attempt when this one got another
		// connection meanwhile.
		TLSHandshakeStart: func() { p.at.CompareAndSwap(int32(phaseDial), int32(phaseTLS)) },
		GotConn: func(info httptrace.GotConnInfo) {
			p.at.Store(int32(phaseHeaders))
			begin(info.Conn)
		},
	}
}

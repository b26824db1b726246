package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"relay/routes"
)

// How long what a Sender read or opened may serve before it is looked at anew.
const (
	// secretsCheck is how often, at most, the files of secrets and certificates are
	// looked at for a change.
	secretsCheck = time.Second
	// connLifetime is how long connections are reused. A receiver that moved to
	// another address is seen after that, even on connections that never idle.
	connLifetime = 4 * time.Minute
)

// Options are what a Sender needs beside its route.
type Options struct {
	// Version of relay, for User-Agent: relay/VERSION. Defaults to "dev".
	Version string
	// LookupEnv reads environment variables that secrets refer to. Defaults to os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Logger gets one line when changed secrets cannot be read. Defaults to none.
	Logger *slog.Logger
	// Forbidden are addresses that no webhook may reach when the route's egress is
	// strict: those of relay's own NATS, database and admin. An unspecified address
	// stands for its port on every address that is not public. Defaults to none.
	Forbidden []netip.AddrPort
	// Resolver looks up receivers' names. Defaults to net.DefaultResolver.
	Resolver *net.Resolver
}

// Sender sends messages to the webhook of one route. It is safe for concurrent use.
// Whoever made it closes it.
type Sender struct {
	route     routes.Route
	logger    *slog.Logger
	lookupEnv func(string) (string, bool)
	template  *http.Request // method, URL and host of every request
	fixed     fields        // the same in every request
	forward   forwardList
	proxy     *url.URL // nil: direct
	dialer    *net.Dialer
	plain     *http1       // nil: messages go by net/http
	tokens    *tokenSource // nil: no OAuth2

	current   atomic.Pointer[session]
	nextCheck atomic.Int64 // of the session, in Unix nanoseconds
	renewing  sync.Mutex
	lastError string // of reading changed secrets; guarded by renewing
	closed    atomic.Bool
}

// session is what a Sender uses until a secret changes or its connections are old.
type session struct {
	*credentials
	transport *http.Transport
	born      time.Time
}

// New makes the Sender of a route. It reads the route's secrets and certificates and
// fails, naming the route and the key, when one cannot be read or used.
func New(r routes.Route, o Options) (*Sender, error) {
	s, err := newSender(r, o)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", r.Name, err)
	}
	return s, nil
}

func newSender(r routes.Route, o Options) (*Sender, error) {
	target, err := parseTarget(r.Webhook.URL)
	if err != nil {
		return nil, err
	}
	s := &Sender{
		route:     r,
		logger:    o.Logger,
		lookupEnv: o.LookupEnv,
		template: &http.Request{
			Method: http.MethodPost, URL: target, Host: target.Host,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		},
		forward: newForwardList(r.Webhook.ForwardHeaders),
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.fixed, err = fixedHeaders(r, o.Version); err != nil {
		return nil, err
	}
	if s.proxy, err = parseProxy(r.Webhook.Proxy); err != nil {
		return nil, err
	}
	guard, err := newGuard(r.Webhook.Egress, o.Forbidden)
	if err != nil {
		return nil, err
	}
	s.dialer = newDialer(r.Webhook.Timeout, guard, o.Resolver)
	if err := guard.checkHost(target, s.proxy); err != nil {
		return nil, fmt.Errorf("webhook.url: %w", err)
	}
	if target.Scheme == "http" && s.proxy == nil && http1Works {
		if s.plain, err = newHTTP1(s.template, max(1, r.Concurrency), s.dialer.DialContext); err != nil {
			return nil, err
		}
	}
	creds, err := readCredentials(r.Webhook, o.LookupEnv)
	if err != nil {
		return nil, err
	}
	if r.Webhook.Auth.OAuth2 != nil {
		if s.tokens, err = newTokenSource(*r.Webhook.Auth.OAuth2); err != nil {
			return nil, err
		}
	}
	s.use(creds, time.Now())
	return s, nil
}

// Close closes the idle connections; those of Sends under way follow when they end.
// A Send after Close reports ClassCanceled.
func (s *Sender) Close() {
	s.closed.Store(true)
	s.closeIdle(s.current.Load())
}

func (s *Sender) closeIdle(sess *session) {
	sess.transport.CloseIdleConnections()
	if s.plain != nil && s.closed.Load() {
		s.plain.closeIdle()
	}
}

// Send makes one attempt: at most one request that the receiver can have seen. It
// returns when the answer is read, when webhook.timeout has passed, or when ctx ends.
func (s *Sender) Send(ctx context.Context, m *Message) Answer {
	start := time.Now()
	if s.closed.Load() {
		return Answer{Err: &Error{ClassCanceled, errors.New("the sender is closed")}}
	}
	sess := s.session(start)
	answer := s.attempt(ctx, sess, m, start)
	answer.Duration = time.Since(start)
	if s.closed.Load() || s.current.Load() != sess {
		s.closeIdle(sess)
	}
	return answer
}

func (s *Sender) attempt(caller context.Context, sess *session, m *Message, start time.Time) Answer {
	end := start.Add(s.route.Webhook.Timeout)
	authorization, err := s.authorization(caller, sess, end)
	if err != nil {
		return Answer{Err: s.authError(caller, err)}
	}
	header, dropped := s.header(m, sess, authorization, start)
	var answer Answer
	// Who follows the request by a httptrace gets the way that reports to it.
	if s.plain != nil && httptrace.ContextClientTrace(caller) == nil {
		answer = s.viaHTTP1(caller, header, m.Body, end)
	} else {
		answer = s.viaTransport(caller, sess.transport, header, m.Body, end)
	}
	answer.DroppedHeaders = dropped
	s.afterAnswer(&answer, authorization)
	return answer
}

func (s *Sender) viaHTTP1(caller context.Context, header fields, body []byte, end time.Time) Answer {
	w, phase, err := s.plain.post(caller, end, header, body)
	if err != nil {
		return Answer{Err: s.explain(caller, end, phase, err)}
	}
	return readAnswer(w.answer, func() { _ = w.conn.SetReadDeadline(time.Now().Add(bodyTime(end))) })
}

func (s *Sender) viaTransport(caller context.Context, t *http.Transport, header fields, body []byte, end time.Time) Answer {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	deadline := time.AfterFunc(time.Until(end), cancel)
	defer deadline.Stop()

	var p progress
	ctx = httptrace.WithClientTrace(ctx, p.trace())
	resp, err := s.roundTrip(ctx, t, header, body)
	if err != nil {
		return Answer{Err: s.explain(caller, end, p.phase(), err)}
	}
	return readAnswer(resp, func() { deadline.Reset(bodyTime(end)) })
}

// roundTrip sends the request once. net/http resends by itself only what failed
// before its first byte was written, or what an HTTP/2 receiver declares unprocessed.
// A kept connection that the receiver closed before anything was written is the one
// such case that net/http hands back.
func (s *Sender) roundTrip(ctx context.Context, t *http.Transport, header fields, body []byte) (*http.Response, error) {
	const tries = 4
	h := header.header()
	for try := 1; ; try++ {
		req := s.template.WithContext(ctx)
		req.Header = h
		if len(body) > 0 {
			req.ContentLength = int64(len(body))
			// The very types that net/http knows to be in memory: with others it
			// flushes the headers in a packet of their own.
			req.Body = io.NopCloser(bytes.NewReader(body))
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
		resp, err := t.RoundTrip(req)
		if err == nil || try == tries || err.Error() != closedIdle {
			return resp, err
		}
	}
}

// closedIdle is net/http's error, exported by no name, for a connection that was
// closed while it lay idle.
const closedIdle = "http: server closed idle connection"

// session returns what to send with, renewed when a file changed or it is old.
func (s *Sender) session(now time.Time) *session {
	if now.UnixNano() < s.nextCheck.Load() || !s.renewing.TryLock() {
		return s.current.Load()
	}
	defer s.renewing.Unlock()
	s.nextCheck.Store(now.Add(secretsCheck).UnixNano())
	old := s.current.Load()
	creds := old.credentials
	if creds.changed() {
		creds = s.reread(creds)
	}
	if creds != old.credentials || now.Sub(old.born) > connLifetime {
		s.use(creds, now)
		old.transport.CloseIdleConnections()
	}
	return s.current.Load()
}

// reread returns the credentials as they stand now, or the old ones while the new
// cannot be read.
func (s *Sender) reread(old *credentials) *credentials {
	creds, err := readCredentials(s.route.Webhook, s.lookupEnv)
	if err == nil {
		s.lastError = ""
		return creds
	}
	if s.lastError != err.Error() {
		s.lastError = err.Error()
		s.logger.Warn("changed secrets cannot be used, the old ones stay", "route", s.route.Name, "err", err)
	}
	return old
}

func (s *Sender) use(creds *credentials, now time.Time) {
	s.current.Store(&session{credentials: creds, transport: s.newTransport(creds.tls), born: now})
}

package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"syscall"
	"time"
)

var (
	// errTimeout is the cause of an attempt's end by webhook.timeout.
	errTimeout        = errors.New("webhook.timeout has passed")
	errHeaderTooLarge = errors.New("the answer's headers are too large")
)

// explain sorts an attempt without an answer into its class. caller is the context
// that Send was given, end the time at which the attempt's is over.
func (s *Sender) explain(caller context.Context, end time.Time, phase phase, err error) *Error {
	switch {
	case !time.Now().Before(end):
		return s.timeout(phase, err)
	case caller.Err() != nil:
		return &Error{ClassCanceled, context.Cause(caller)}
	case isBlocked(err):
		return &Error{ClassBlocked, err}
	case isLocal(err):
		return &Error{ClassLocal, err}
	case s.proxy != nil && (phase == phaseDial || isProxy(err)):
		return &Error{ClassProxy, err}
	}
	return s.networkError(phase, err)
}

func (s *Sender) networkError(phase phase, err error) *Error {
	var (
		netErr net.Error
		dnsErr *net.DNSError
	)
	switch {
	case errors.As(err, &dnsErr):
		return &Error{ClassDNS, err}
	case isTLS(err):
		return &Error{ClassTLS, err}
	case errors.As(err, &netErr) && netErr.Timeout():
		return s.timeout(phase, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{ClassRefused, err}
	case isHeaderTooLarge(err):
		return &Error{ClassHeaderTooLarge, fmt.Errorf("the answer's headers exceed %d bytes", maxHeaderBytes)}
	case isMalformed(err):
		return &Error{ClassMalformed, withoutQuotes(err)}
	case isReset(err):
		return &Error{ClassReset, fmt.Errorf("the connection ended before the answer: %w", err)}
	case phase == phaseTLS:
		return &Error{ClassTLS, err}
	default:
		return &Error{ClassNetwork, err}
	}
}

func (s *Sender) timeout(phase phase, err error) *Error {
	limit := s.route.Webhook.Timeout
	switch {
	case phase == phaseDial && s.proxy != nil:
		return &Error{ClassProxy, fmt.Errorf("no connection through the proxy within %s: %w", limit, err)}
	case phase == phaseDial:
		return &Error{ClassTimeoutDial, fmt.Errorf("no connection within %s: %w", limit, err)}
	case phase == phaseTLS:
		return &Error{ClassTimeoutTLS, fmt.Errorf("no TLS handshake within %s: %w", limit, err)}
	default:
		return &Error{ClassTimeoutHeaders, fmt.Errorf("no answer within %s: %w", limit, err)}
	}
}

// authError explains an attempt that ended before its request: no token could be had.
func (s *Sender) authError(caller context.Context, err error) *Error {
	switch {
	case caller.Err() != nil:
		return &Error{ClassCanceled, context.Cause(caller)}
	case isBlocked(err):
		return &Error{ClassBlocked, err}
	default:
		return &Error{ClassAuth, err}
	}
}

// isLocal says whether a connection was not to be had because of this machine alone. A
// lookup keeps the text of what ended it, not the error.
func isLocal(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return containsAny(err, syscall.EMFILE.Error(), syscall.ENFILE.Error())
}

func isProxy(err error) bool {
	var op *net.OpError
	var refusal proxyRefusal
	return errors.As(err, &refusal) || (errors.As(err, &op) && op.Op == "proxyconnect")
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		hostname     x509.HostnameError
		authority    x509.UnknownAuthorityError
		certificate  x509.CertificateInvalidError
		op           *net.OpError
	)
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &hostname) || errors.As(err, &authority) || errors.As(err, &certificate) ||
		(errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"))
}

func isReset(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	return containsAny(err, closedIdle, "stream error", "GOAWAY", "client connection lost")
}

func isHeaderTooLarge(err error) bool {
	return errors.Is(err, errHeaderTooLarge) || containsAny(err, "response headers exceeded", "header list larger than")
}

func isMalformed(err error) bool {
	var protocol textproto.ProtocolError
	return errors.As(err, &protocol) ||
		containsAny(err, "malformed", "bad Content-Length", "unsupported transfer encoding", "too many transfer encodings",
			"message cannot contain multiple Content-Length", "invalid ",
			"PROTOCOL_ERROR", "FRAME_SIZE_ERROR",
			// Of HTTP/2 headers that cannot be decoded, one of more than maxHeaderBytes among them.
			"COMPRESSION_ERROR")
}

// containsAny is for the errors that net/http gives no type.
func containsAny(err error, texts ...string) bool {
	s := err.Error()
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// withoutQuotes leaves out what the error quotes: a receiver may have sent back what
// it got, secrets and all.
func withoutQuotes(err error) error {
	text, _, quoted := strings.Cut(err.Error(), `"`)
	if !quoted {
		return err
	}
	return errors.New("the answer is not HTTP: " + strings.TrimSpace(text))
}

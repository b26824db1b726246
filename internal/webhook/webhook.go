// Package webhook sends one message as one signed POST and says what came of it:
// request, headers, signature, egress guard and a bounded reading of the answer.
// It knows no NATS and decides nothing: what an answer means is the caller's.
package webhook

import (
	"net/http"
	"time"
)

// Message is what is sent. Send changes nothing in it; nobody else may either, once it
// was given to Send: a request that was answered early is read to its end later.
type Message struct {
	ID        string // webhook-id
	Subject   string
	Stream    string
	Sequence  uint64
	Attempt   int       // counted from 1
	EventTime time.Time // when the message was stored
	ReplayOf  string    // set on replays: the id of the dead letter
	Headers   map[string][]string
	Body      []byte // sent byte for byte
}

// Answer is what one attempt came to.
type Answer struct {
	// Status of the answer; 0 when there was none, and then Err says why.
	Status   int
	Header   http.Header
	Body     []byte // the first MaxBodyBytes of it
	Duration time.Duration
	// DroppedHeaders counts headers of the message that the route forwards and HTTP
	// cannot carry; they were left out.
	DroppedHeaders int
	Err            *Error
}

// MaxBodyBytes is how much of an answer's body is kept.
const MaxBodyBytes = 4 << 10

// Class sorts the ways in which an attempt ends without an answer. The words are
// label values of a metric and stand in dead letters; they do not change.
type Class string

// The classes.
const (
	ClassDNS            Class = "dns"
	ClassRefused        Class = "refused"
	ClassReset          Class = "reset"
	ClassTimeoutDial    Class = "timeout_dial"
	ClassTimeoutTLS     Class = "timeout_tls"
	ClassTimeoutHeaders Class = "timeout_headers" // while sending or waiting for the answer's headers
	ClassTLS            Class = "tls"
	ClassProxy          Class = "proxy"
	ClassBlocked        Class = "blocked" // by the egress guard
	ClassLocal          Class = "local"   // the machine has no descriptor, port or memory left for a connection
	ClassHeaderTooLarge Class = "header_too_large"
	ClassMalformed      Class = "malformed"
	ClassUpgrade        Class = "upgrade"  // a final 1xx
	ClassAuth           Class = "auth"     // no token or secret could be had: our own side
	ClassCanceled       Class = "canceled" // the caller gave up
	ClassNetwork        Class = "network"  // anything else
)

// Error says why there was no answer.
type Error struct {
	Class Class
	Err   error
}

func (e *Error) Error() string { return string(e.Class) + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// OurSide says that the attempt ended for a reason that lies on relay's side, so that
// it must not count against the message. Only a canceled one can have reached the
// receiver.
func (e *Error) OurSide() bool {
	switch e.Class {
	case ClassBlocked, ClassLocal, ClassAuth, ClassProxy, ClassCanceled:
		return true
	default:
		return false
	}
}

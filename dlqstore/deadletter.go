// Package dlqstore keeps the dead letters: their wire form in JetStream, the Store
// that holds them (Postgres, or SQLite for embedded mode), the projector that
// carries them from the stream into the table, and their replays.
//
// The dead-letter stream is the log and the table is its projection: whatever the
// table holds about a delivery's death can be made again from the stream. It is the
// only package of relay with SQL. cmd/relay, dispatcher and admin import it.
package dlqstore

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// State is where a dead letter stands: dead → replaying → delivered | dead, and
// dead → discarded → dead. docs/states.md draws it.
type State string

// The states.
const (
	Dead      State = "dead"      // will not be tried again by itself
	Replaying State = "replaying" // handed to the replay lane, outcome not known yet
	Delivered State = "delivered" // a replay got a 2xx
	Discarded State = "discarded" // a person decided that it is not needed
)

// Reason is why a delivery died.
type Reason string

// The reasons.
const (
	Exhausted Reason = "exhausted" // retry.max_attempts was reached
	Expired   Reason = "expired"   // retry.max_age was reached
	Rejected  Reason = "rejected"  // the answer's status means never
	Aborted   Reason = "aborted"   // the receiver said webhook-delivery: abort-message
	Oversize  Reason = "oversize"  // it cannot be sent as it is
	Poison    Reason = "poison"    // relay cannot process it, or dies of it
	Blocked   Reason = "blocked"   // the egress guard refuses the target
)

// DeadLetter is a delivery that will not be tried again by itself. Payload and
// Headers are the original's, byte for byte, and never change.
type DeadLetter struct {
	ID              string
	Route           string
	State           State
	Reason          Reason
	OriginalSubject string
	Payload         []byte
	Headers         map[string][]string
	Error           string // what went wrong in the last attempt; at most MaxErrorBytes
	Status          int    // the last answer's HTTP status; 0: there was no answer
	// ErrorClass is the error in one word: 5xx, timeout_headers, dns. Fingerprint is
	// the same for all that died of the same cause. The Store sets both.
	ErrorClass     string
	Fingerprint    string
	Response       []byte // the start of the last answer's body; at most MaxResponseBytes
	RetryCount     int    // attempts made
	ConsumerName   string
	Stream         string
	StreamSequence uint64
	PublishedAt    time.Time // when the original was stored in its stream
	FailedAt       time.Time
	ReplayOf       string // id of the dead letter that this is an edited replay of
	// ReplayCount is how many replays of it have been started, edited ones included.
	ReplayCount int
	// ChangedBy is who brought it into its state, and ChangedAt when; empty: relay.
	ChangedBy string
	ChangedAt time.Time
	// DiscardReason is why it was discarded; set in the state discarded only.
	DiscardReason string
	// Attempts are the failed attempts known, oldest first; of more than MaxAttempts the
	// last. In lists they are without Response and ResponseHeaders.
	Attempts []Attempt
}

// MaxAttempts is how many attempts are read with a dead letter; the table has all.
const MaxAttempts = 500

// Limits of what a dead letter keeps of an answer.
const (
	MaxErrorBytes    = 1024
	MaxResponseBytes = 4096
)

// Attempt is one HTTP request of a delivery, or an attempt that made none because
// relay's own side stood in the way.
type Attempt struct {
	ID              string // of the delivery
	Route           string
	Number          int // counted from 1, in each replay anew
	Replay          int // 0: the first life of the delivery; n: its nth replay
	At              time.Time
	Status          int    // 0: there was no answer
	Error           string // class and text; empty on an answer
	Duration        time.Duration
	ResponseHeaders map[string][]string
	Response        []byte // at most MaxResponseBytes
	Verdict         string // ack, nak, term or drop
	Instance        string // the relay process that made it
}

// The form of an id.
const (
	idPrefix    = "msg_"
	idTextBytes = 30
)

var idEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewID is the identity of a delivery: of one stored message for one route. It is
// the same over retries, restarts and plain replays, differs by route, and differs
// when a stream of the same name counts from 1 again.
func NewID(route, stream string, sequence uint64, stored time.Time) string {
	buf := make([]byte, 0, 128)
	buf = append(buf, route...)
	buf = append(buf, 0)
	buf = append(buf, stream...)
	buf = append(buf, 0)
	buf = binary.BigEndian.AppendUint64(buf, sequence)
	buf = binary.BigEndian.AppendUint64(buf, uint64(stored.UnixNano()))
	return idOf(buf)
}

func idOf(b []byte) string {
	sum := sha256.Sum256(b)
	return idPrefix + strings.ToLower(idEncoding.EncodeToString(sum[:])[:idTextBytes-len(idPrefix)])
}

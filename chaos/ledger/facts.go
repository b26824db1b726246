// Package ledger holds what relay promises against what was seen: what was published,
// what the receivers got, and what stands in the dead-letter stream, the table and the
// consumers. It reads nothing itself; whoever made the faults brings the facts.
package ledger

import "crypto/sha256"

// Sum is the SHA-256 of a body.
type Sum = [sha256.Size]byte

// Key names a delivery: one message bound for one route. The subject tells the
// message, so a test publishes each under a subject of its own; sequences begin anew
// when a stream does.
type Key struct{ Route, Subject string }

// Facts are all that was seen of one run.
type Facts struct {
	Published []Published
	Requests  []Request
	Dead      []Dead
	Rows      []Row
	Attempts  []Attempt
	Consumers []Consumer
	// DeadStreamGone says that the run deleted a dead-letter stream: a row need not
	// have a message there.
	DeadStreamGone bool
}

// Published is a message that a stream has confirmed.
type Published struct {
	Subject  string
	Stream   string
	Sequence uint64
	Sum      Sum
	Routes   []string // those that have to deliver it
	// Gone says that the run itself took the message out of the stream, by a purge or
	// with the whole stream. It may have been delivered, and need not.
	Gone bool
}

// Request is one request as a receiver got it.
type Request struct {
	Key
	ID       string // webhook-id
	Stream   string
	Sequence uint64
	Attempt  int
	Replay   bool
	Sum      Sum
	// Status is what was answered; 0 when there was no HTTP answer, or none yet.
	Status int
}

// Accepted says whether the answer was a 2xx.
func (r Request) Accepted() bool { return r.Status >= 200 && r.Status <= 299 }

// Dead is one message of a dead-letter stream.
type Dead struct {
	Key
	ID     string
	Replay int // of which it died; 0: its first life
	Sum    Sum
	// Reference says that the body stands in the table only.
	Reference bool
}

// Row is one row of the table dead_letters.
type Row struct {
	Key
	ID     string
	State  string
	Reason string
	Sum    Sum
}

// Attempt is one row of the table dead_letter_attempts.
type Attempt struct {
	ID     string
	Route  string
	Replay int
	Number int
	Failed bool // its outcome is nak or term
}

// Consumer is where the consumer of a route stands.
type Consumer struct {
	Route string
	// Floor is the sequence up to which everything is settled.
	Floor uint64
	// Unsettled counts the messages that it has not delivered, or not heard of since.
	Unsettled uint64
}

// Package routes is the routes file: its types, strict decoding with positions,
// defaults, validation, JSON Schema and the arithmetic of retries.
//
// Every package that needs a route imports it; it imports none of relay's packages.
package routes

import (
	"net/url"
	"time"
)

// Config is a routes file (or a folder of them) after expansion, defaults and
// validation: every value is set, nothing is left to be defaulted by a caller.
type Config struct {
	// Streams are the streams that relay creates or updates. Streams that routes
	// name and that are not listed here belong to somebody else.
	Streams []Stream
	// DeadLetter is the dead-letter stream of every route that names no other.
	DeadLetter DeadLetter
	// Routes in file order, the disabled ones among them; after them those that relay
	// makes for notify.
	Routes []Route
	// Warnings are remarks that do not keep the file from running.
	Warnings []Problem

	// What Streams and Routes were read from, for WriteResolved.
	streamNodes, routeNodes []*node
}

// Route returns the route of that name, and whether there is one.
func (c *Config) Route(name string) (Route, bool) {
	for _, r := range c.Routes {
		if r.Name == name {
			return r, true
		}
	}
	return Route{}, false
}

// Storage is where JetStream keeps a stream: "file" or "memory".
type Storage string

// The storages of a stream.
const (
	StorageFile   Storage = "file"
	StorageMemory Storage = "memory"
)

// Retention is JetStream's retention policy of a stream.
type Retention string

// The retention policies, by JetStream's names.
const (
	RetentionLimits    Retention = "limits"
	RetentionInterest  Retention = "interest"
	RetentionWorkQueue Retention = "workqueue"
)

// Discard says what a full stream does with a new message: "old" removes the
// oldest to make room, "new" refuses the newcomer.
type Discard string

// The discard policies.
const (
	DiscardOld Discard = "old"
	DiscardNew Discard = "new"
)

// Stream is a JetStream stream that relay creates, or updates to what stands here.
type Stream struct {
	Name      string
	Subjects  []string
	Storage   Storage       // default file
	Retention Retention     // default limits
	MaxAge    time.Duration // 0: messages are kept until another limit takes them
	MaxBytes  int64         // bytes on disk; 0: no limit
	Replicas  int           // 1 to 5; default 1
	Discard   Discard       // default old
}

// DeadLetter says where a route's dead letters go.
type DeadLetter struct {
	// Stream is the dead-letter stream. Default RELAY_DLQ.
	Stream string
	// SubjectPrefix is the first token, or tokens, of a dead letter's subject:
	// PREFIX.ROUTE.ORIGINAL-SUBJECT. Default dlq.
	SubjectPrefix string
	// MaxAge is how long the stream keeps a dead letter. Default 30 days.
	MaxAge time.Duration
	// Retention is how long the table keeps a dead letter that nobody settled.
	// Default 90 days.
	Retention time.Duration
}

// Subject is the subject under which a dead letter of the route is published.
func (d DeadLetter) Subject(route, original string) string {
	return d.SubjectPrefix + "." + route + "." + original
}

// Route is one rule: filter subjects of a stream go to a webhook, with a policy.
type Route struct {
	Name           string
	Description    string
	Enabled        bool // default true; a disabled route is validated and not run
	Stream         string
	FilterSubjects []string
	Consumer       Consumer
	// Filter is an expression over subject, headers and body; a message for which
	// it is false is acked and counted, never sent. Empty: every message is sent.
	Filter      string
	Webhook     Webhook
	Concurrency int // attempts under way at once in one process; default 16
	RateLimit   RateLimit
	Order       Order
	Breaker     CircuitBreaker
	Retry       Retry
	Status      StatusRules
	DeadLetter  DeadLetter
	// Notify says who is told of the route's changes. nil: nobody.
	Notify *Notify
	// Pos is where the route stands in its file.
	Pos Position
}

// Position is a place in a routes file. Line and Column count from 1.
type Position struct {
	File         string
	Line, Column int
}

// ConsumerType is "pull" or "push".
type ConsumerType string

// The consumer types.
const (
	Pull ConsumerType = "pull"
	Push ConsumerType = "push"
)

// DeliverPolicy says where in the stream a new consumer begins, by JetStream's names.
type DeliverPolicy string

// The deliver policies.
const (
	DeliverAll             DeliverPolicy = "all"
	DeliverNew             DeliverPolicy = "new"
	DeliverLast            DeliverPolicy = "last"
	DeliverLastPerSubject  DeliverPolicy = "last_per_subject"
	DeliverByStartSequence DeliverPolicy = "by_start_sequence"
	DeliverByStartTime     DeliverPolicy = "by_start_time"
)

// Consumer is the durable JetStream consumer of a route.
type Consumer struct {
	Durable       string        // default relay-NAME
	Type          ConsumerType  // default pull
	DeliverPolicy DeliverPolicy // default all
	StartSequence uint64        // by_start_sequence only
	StartTime     time.Time     // by_start_time only
	AckWait       time.Duration // default 30 s; always above the webhook's timeout
	// MaxAckPending bounds the messages delivered and not settled, those that wait
	// for a retry among them. Default 10,000.
	MaxAckPending  int
	DeliverSubject string // push only
	DeliverGroup   string // push only
}

// Order is "none" or "strict".
type Order string

// The orders.
const (
	OrderNone   Order = "none"
	OrderStrict Order = "strict" // one message at a time, retried in place
)

// RateLimit bounds the attempts of a route in one process. The zero value is no limit.
type RateLimit struct {
	PerSecond float64
	Burst     int // attempts that may go at once; default max(1, PerSecond)
}

// CircuitBreaker stops a route's pulls while its receiver is down.
type CircuitBreaker struct {
	ConsecutiveFailures int           // endpoint failures in a row that open it; default 10; 0: no breaker
	OpenFor             time.Duration // time until one attempt probes the receiver; default 30 s
	Ramp                bool          // after a successful probe, double the concurrency a window; default true
}

// CloudEvents is "none" or "binary".
type CloudEvents string

// The CloudEvents modes.
const (
	CloudEventsNone   CloudEvents = "none"
	CloudEventsBinary CloudEvents = "binary" // attributes as ce-* headers
)

// Webhook is the receiver of a route and how it is spoken to.
type Webhook struct {
	URL            string
	Timeout        time.Duration     // of one attempt: dial, TLS, headers and body; default 15 s
	Headers        map[string]string // sent with every attempt, by canonical name
	ForwardHeaders []string          // names of message headers to send on; a trailing * matches the rest
	Signing        Signing
	Auth           Auth
	TLS            TLS
	CloudEvents    CloudEvents // default none
	Egress         Egress
	// Proxy is the URL of an HTTP proxy. Empty: a direct connection; the
	// environment's proxies are never used.
	Proxy string
	// IdempotencyKey sends the delivery's id as Idempotency-Key too. net/http takes
	// that header as leave to resend a request by itself on a broken connection.
	IdempotencyKey bool
}

// PublicURL is the URL as it may be shown to anybody: scheme, host and path. The rest may
// hold a secret.
func (w Webhook) PublicURL() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Secret refers to a value that is kept out of the routes file: an environment
// variable or a file, never both. Printing it prints the reference, not the value.
type Secret struct {
	Env  string
	File string // relative to the routes file's folder in YAML; absolute here
}

// Signing holds the Standard Webhooks secrets of a route, newest first; each gives
// one signature. Empty: attempts are not signed.
type Signing struct {
	Secrets []Secret
}

// Auth is how an attempt authenticates itself; at most one of the three is set.
type Auth struct {
	Bearer *Secret
	Basic  *BasicAuth
	OAuth2 *OAuth2
}

// BasicAuth is HTTP Basic authentication.
type BasicAuth struct {
	Username string
	Password Secret
}

// OAuth2 is the client-credentials grant (RFC 6749, section 4.4).
type OAuth2 struct {
	TokenURL     string
	ClientID     string
	ClientSecret Secret
	Scopes       []string
}

// TLS holds the paths of PEM files; empty paths leave Go's defaults.
type TLS struct {
	CAFile   string // trusted besides the system's roots
	CertFile string // client certificate, with KeyFile
	KeyFile  string
}

// EgressMode is "internal" or "strict".
type EgressMode string

// The egress modes.
const (
	EgressInternal EgressMode = "internal" // loopback and private addresses allowed
	EgressStrict   EgressMode = "strict"   // only public addresses
)

// Egress bounds the addresses that a webhook may resolve to.
type Egress struct {
	Mode  EgressMode // default internal
	Allow []string   // CIDRs allowed besides the mode
}

// Retry is a route's policy for attempts after the first.
type Retry struct {
	MaxAttempts int           // attempts in all; default 8
	MaxAge      time.Duration // from the message's storing; 0: no limit; default 24 h
	Backoff     Backoff
	// Schedule, when set, replaces Backoff: the delay after attempt n is
	// Schedule[n-1], and the last entry repeats.
	Schedule []time.Duration
	// RetryAfterMax clamps a receiver's Retry-After. Default 1 h; 0: it is ignored.
	RetryAfterMax time.Duration
}

// Backoff is exponential with jitter, in the arithmetic of cenkalti/backoff.
type Backoff struct {
	Initial    time.Duration // delay after the first attempt, before jitter; default 1 s
	Multiplier float64       // default 2; at least 1
	Max        time.Duration // of every delay, after jitter; default 10 min
	Jitter     float64       // share of the delay that varies either way, 0 to 1; default 0.2
}

// Verdict is what relay does with a message after an attempt.
type Verdict string

// The verdicts, in the words of the routes file's status: map.
const (
	Ack  Verdict = "ack"  // delivered
	Nak  Verdict = "nak"  // try again after a delay
	Term Verdict = "term" // dead letter now
	Drop Verdict = "drop" // end it, keep nothing
)

// StatusRule gives the verdict for the statuses From to To, both included.
type StatusRule struct {
	From, To int
	Verdict  Verdict
	Pattern  string // as written: 404, 200-204 or 5xx
}

// StatusRules are a route's exceptions from the default outcome by status.
type StatusRules []StatusRule

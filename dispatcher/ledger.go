package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The ledger's stream: one message a delivery, of those only that need one.
const (
	ledgerStream        = "RELAY_LEDGER"
	ledgerSubjectPrefix = "relay.ledger." // + route + "." + id
	ledgerMaxAge        = 7 * 24 * time.Hour
	ledgerMaxMessages   = 1 << 20
	// ledgerTimeout bounds one word with the ledger. It is short: a delivery does not
	// wait for it when JetStream does not answer.
	ledgerTimeout = 2 * time.Second
	// ledgerMemory is how many deliveries a process knows by heart.
	ledgerMemory = 1 << 15
)

// poisonAfter is how many deliveries in a row may end without anybody's word before a
// message counts as one that kills the process.
const poisonAfter = 3

// past is what JetStream's count of a message's deliveries does not tell.
type past struct {
	// Unsent counts deliveries that made no request, because relay was stopping or
	// something on its own side was missing. They are no attempts.
	Unsent int `json:"unsent"`
	// Open counts the last deliveries in a row whose end nobody recorded: relay died,
	// or lost its connection, while it had the message in hand.
	Open int `json:"open"`
	// Sent counts the requests that failed. Only what is written of push routes has all.
	Sent int `json:"sent,omitempty"`
}

// ledger keeps the past of messages that come again. What a process settled itself it
// knows by heart; what it writes down is what another one has to know: deliveries that
// made no request, and that it begins an attempt on a message of whose last delivery
// it does not know how it ended. So an undisturbed retry costs nothing here.
//
// It is an aid: when it cannot be read or written, deliveries go on, and at worst one
// counts as an attempt that was none.
type ledger struct {
	js jetstream.JetStream

	mu     sync.Mutex
	stream jetstream.Stream // nil until it was found
	known  map[string]known // by subject
}

type known struct {
	past
	dying     *Outcome // of a message that has died, and whose dead letter could not be stored
	delivered uint64   // how often JetStream had delivered it then
}

func newLedger(js jetstream.JetStream) *ledger {
	return &ledger{js: js, known: map[string]known{}}
}

func ledgerConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: ledgerStream, Subjects: []string{ledgerSubjectPrefix + "*.*"},
		Description: "deliveries of relay that made no request, or did not end",
		Storage:     jetstream.FileStorage, MaxAge: ledgerMaxAge, Replicas: replicas,
		MaxMsgsPerSubject: 1, MaxMsgs: ledgerMaxMessages,
	}
}

// look reads the past of a message that was delivered before. Its last delivery is
// counted among those without a known end, unless somebody wrote how it ended.
func (l *ledger) look(ctx context.Context, d *delivery) {
	if d.meta.NumDelivered < 2 {
		return
	}
	subject := d.ledgerSubject()
	l.mu.Lock()
	k, ok := l.known[subject]
	delete(l.known, subject)
	l.mu.Unlock()
	if ok && k.delivered == d.meta.NumDelivered-1 {
		d.past, d.dying = k.past, k.dying
		return
	}
	defer d.discount()
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	m, err := l.last(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		d.past, d.disputed = past{Open: 1}, true
	case err == nil && json.Unmarshal(m.Data, &d.past) == nil:
		d.disputed = true
	}
}

// discount counts the deliveries of a push consumer of which nothing is written down as
// without a request, but for one: the last may have been cut off in its attempt.
func (d *delivery) discount() {
	if d.lane.deliverSubject == "" || !d.disputed {
		return
	}
	p := &d.past
	unknown := int(d.meta.NumDelivered) - 1 - p.Sent - p.Unsent - p.Open //nolint:gosec // it fits
	if unknown > 0 && p.Open == 0 {
		p.Open = 1
		unknown--
	}
	p.Unsent += max(0, unknown)
}

func (l *ledger) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	l.mu.Lock()
	stream := l.stream
	l.mu.Unlock()
	if stream == nil {
		var err error
		if stream, err = l.js.Stream(ctx, ledgerStream); err != nil {
			return nil, fmt.Errorf("look at relay's stream %q: %w", ledgerStream, err)
		}
		l.mu.Lock()
		l.stream = stream
		l.mu.Unlock()
	}
	return stream.GetLastMsgForSubject(ctx, subject)
}

// begin writes down that an attempt begins, before it does, of a message whose last
// delivery has no known end: if relay dies of it, the next process can tell.
func (l *ledger) begin(ctx context.Context, d *delivery) error {
	if !d.disputed || d.marked {
		return nil
	}
	d.marked = true
	return l.write(ctx, d, past{Unsent: d.past.Unsent, Open: d.past.Open + 1, Sent: d.past.Sent})
}

// end notes how a delivery ended that comes again: with a request that failed, or
// without any.
func (l *ledger) end(ctx context.Context, d *delivery) error {
	now := d.past
	if d.sent {
		now.Open, now.Sent = 0, now.Sent+1
	} else {
		now.Unsent++
	}
	l.mu.Lock()
	if len(l.known) >= ledgerMemory {
		clear(l.known)
	}
	l.known[d.ledgerSubject()] = known{now, d.dying, d.meta.NumDelivered}
	l.mu.Unlock()
	if d.sent && !d.marked && d.lane.deliverSubject == "" {
		return nil
	}
	return l.write(ctx, d, now)
}

func (l *ledger) write(ctx context.Context, d *delivery, p past) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := l.js.Publish(ctx, d.ledgerSubject(), body, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("write to relay's stream %q: %w", ledgerStream, err)
	}
	return nil
}

// ledgerSubject is where the delivery's past stands; each replay has one of its own.
func (d *delivery) ledgerSubject() string {
	s := ledgerSubjectPrefix + d.lane.route.cfg.Name + "." + d.ID
	if d.replay > 0 {
		s += "-" + strconv.Itoa(d.replay)
	}
	return s
}

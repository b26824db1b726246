package dispatcher

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
)

const (
	// headerHop counts how often a message was sent to its original subject again.
	headerHop = "Relay-Hop"
	// mostHops is where that ends: what dies and is sent again for the fourth time does
	// not die of chance.
	mostHops = 3
)

// Republish sends a dead letter to its original subject as a new message, which every
// consumer of that subject gets, and returns when a stream holds it. Its headers go
// with it, but for those that mean something to JetStream, and Relay-Hop counts the
// times. Within the stream's duplicates window the same payload goes out once.
//
// Errors: it was sent so three times already; no stream has the subject; JetStream's.
func (d *Dispatcher) Republish(ctx context.Context, dl dlqstore.DeadLetter) error {
	hops := hopsOf(dl.Headers) + 1
	if hops > mostHops {
		return fmt.Errorf("message %s was sent to %q %d times already: replay it to its route, and find out why it dies", dl.ID, dl.OriginalSubject, mostHops)
	}
	m := nats.NewMsg(dl.OriginalSubject)
	m.Data = dl.Payload
	for name, values := range dl.Headers {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") && name != "Status" && name != "Description" {
			m.Header[name] = values
		}
	}
	m.Header[headerHop] = []string{strconv.Itoa(hops)}
	// When only the PubAck was lost, who tries again sends no second message.
	m.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.hop%d.%x", dl.ID, hops, sha256.Sum256(dl.Payload)))
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := d.shared.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish %s to its original subject %q: %w", dl.ID, dl.OriginalSubject, err)
	}
	return nil
}

// hopsOf is how often a message was sent to its subject again; rubbish counts as never.
func hopsOf(headers map[string][]string) int {
	if values := headers[headerHop]; len(values) > 0 {
		if n, err := strconv.Atoi(values[0]); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

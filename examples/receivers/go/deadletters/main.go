// Command deadletters prints the dead letters as they come:
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./examples/receivers/go/deadletters
//
// Whoever wants to do more with a dead letter than the admin page does reads them so.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	// An ordered consumer reads along from the beginning and acks nothing: relay's own
	// consumer of this stream, which brings the dead letters into the table, is another one.
	consumer, err := js.OrderedConsumer(ctx, "RELAY_DLQ", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"dlq.>"}})
	if err != nil {
		return fmt.Errorf("read the stream of dead letters: %w", err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		d, err := parse(m)
		if err != nil {
			fmt.Fprintf(out, "not relay's: %s: %v\n", m.Subject(), err)
			return
		}
		fmt.Fprintln(out, "dead", d.route, d.subject, d.reason, d.status, string(d.payload))
		fmt.Fprintf(out, "  message %d of %s, %d attempts until %s, as %s\n", d.sequence, d.stream, d.attempts, d.failedAt.Format(time.RFC3339), d.id)
	})
	if err != nil {
		return fmt.Errorf("read the stream of dead letters: %w", err)
	}
	<-ctx.Done()
	reading.Stop()
	return nil
}

// deadLetter is what the headers tell of a delivery that died.
type deadLetter struct {
	id       string // of the delivery, as in webhook-id
	route    string
	subject  string // of the original message, which was sequence of stream
	stream   string
	sequence uint64
	reason   string // exhausted, expired, rejected, aborted, oversize, poison or blocked
	status   int    // of the last answer; 0: there was none
	attempts int
	failedAt time.Time
	payload  []byte // nil: too large for the stream; the admin API has it
}

// parse reads the headers that relay sets. Those of the original message stand beside
// them; one that means something to JetStream begins with Relay-Orig-.
func parse(m jetstream.Msg) (d deadLetter, err error) {
	h := m.Headers()
	d = deadLetter{
		id: h.Get("Relay-Id"), route: h.Get("Relay-Route"), subject: h.Get("Relay-Subject"), stream: h.Get("Relay-Stream"),
		reason: h.Get("Relay-Reason"), payload: m.Data(),
	}
	if h.Get("Relay-Body") == "table" {
		d.payload = nil
	}
	if status := h.Get("Relay-Status"); status != "" {
		if d.status, err = strconv.Atoi(status); err != nil {
			return d, fmt.Errorf("read Relay-Status: %w", err)
		}
	}
	if d.sequence, err = strconv.ParseUint(h.Get("Relay-Stream-Sequence"), 10, 64); err != nil {
		return d, fmt.Errorf("read Relay-Stream-Sequence: %w", err)
	}
	if d.attempts, err = strconv.Atoi(h.Get("Relay-Attempts")); err != nil {
		return d, fmt.Errorf("read Relay-Attempts: %w", err)
	}
	if d.failedAt, err = time.Parse(time.RFC3339Nano, h.Get("Relay-Failed-At")); err != nil {
		return d, fmt.Errorf("read Relay-Failed-At: %w", err)
	}
	return d, nil
}

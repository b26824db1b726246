package dispatcher

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// The words of JetStream's ack protocol (NATS ADR-15). deliver's settle step is the
// only caller of ack, nak and term; the keep-alive is the only other one to speak to
// a message's reply subject.

// confirmTimeout bounds the wait for the server's word that a message is ended.
const confirmTimeout = 5 * time.Second

func ack(nc *nats.Conn, m *nats.Msg) error { return nc.Publish(m.Reply, []byte("+ACK")) }

// nak gives the message back, to come again after the delay; 0 is at once.
func nak(nc *nats.Conn, m *nats.Msg, delay time.Duration) error {
	if delay <= 0 {
		return nc.Publish(m.Reply, []byte("-NAK"))
	}
	body := append(make([]byte, 0, 48), `-NAK {"delay": `...)
	body = strconv.AppendInt(body, int64(delay), 10)
	return nc.Publish(m.Reply, append(body, '}'))
}

// termedByRelay begins the reason that relay terminates a message with, so that the
// advisory of it is known for relay's own.
const termedByRelay = "relay: "

// term ends the message and waits for the server to confirm it: a dead letter whose
// original comes again would be posted again.
func term(nc *nats.Conn, m *nats.Msg, reason string) error {
	if _, err := nc.Request(m.Reply, []byte("+TERM "+termedByRelay+reason), confirmTimeout); err != nil {
		return fmt.Errorf("end the message: %w", err)
	}
	return nil
}

// inProgress starts the message's AckWait anew.
func inProgress(nc *nats.Conn, m *nats.Msg) error { return nc.Publish(m.Reply, []byte("+WPI")) }

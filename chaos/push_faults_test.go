package chaos_test

import (
	"time"

	"relay/chaos/ledger"
)

// pushFaults are the faults of relay and NATS that a push consumer may take otherwise
// than a pull consumer: its server sends without being asked, up to max_ack_pending.
func pushFaults() []scenario {
	const pushed = "; the consumers are push consumers, each with a deliver group"
	return []scenario{
		{
			name: "push-kill", push: true, fit: ledger.Crashed, kills: 10, run: func(h *house) { killed(h, 10) },
			fault: "SIGKILL at random moments of start and work, 10 times" + pushed,
			holds: "duplicates: no more than were in hand at a kill",
		},
		{
			name: "push-kill-backlog", push: true, fit: ledger.Crashed, kills: 6, run: killedWithBacklog,
			fault: "SIGKILL six times, each later than an AckWait after the last, while receivers are slower than the load" + pushed,
			holds: "what only lay in the process uses up no attempt: nothing dies that its receiver would take",
		},
		{
			name: "push-two", push: true, fit: ledger.Crashed, run: two,
			fault: "two processes of one group, one after the other killed, stopped, or paused for an AckWait, twice each" + pushed,
			holds: "the other one takes over",
		},
		{
			name: "push-nats-restart", push: true, fit: ledger.Crashed, run: func(h *house) { natsGone(h, 2, (*node).stop) },
			fault: "NATS stopped in good order for up to 2 s under load, and started again, twice" + pushed,
			holds: "relay goes on by itself",
		},
		{
			name: "push-nats-kill", push: true, fit: ledger.Crashed, run: func(h *house) { natsGone(h, 5, func(n *node) { n.kill() }) },
			fault: "NATS gets SIGKILL under load, and is started again after up to 2 s, five times" + pushed,
			holds: "relay goes on by itself",
		},
		{
			name: "push-consumer-deleted", push: true, fit: ledger.Crashed, run: consumerDeleted,
			fault: "the consumer of a route is deleted under load, three times" + pushed,
			holds: "relay makes it again where it last saw it; what was settled since then is delivered again",
		},
	}
}

// killedWithBacklog kills more often than a message has attempts, and each time with
// many in hand that have made no request.
func killedWithBacklog(h *house) {
	h.start(relayOptions{})
	h.warm()
	h.receiver.answer(h.slower(200 * time.Millisecond))
	l := h.flow(80)
	for range 6 {
		<-time.After(ackWait + 2*time.Second)
		h.strike(h.current().kill)
		h.launch(relayOptions{})
	}
	l.end()
	h.receiver.answer(h.mixed)
}

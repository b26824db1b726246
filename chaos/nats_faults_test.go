package chaos_test

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"relay/chaos/ledger"
)

func natsFaults() []scenario {
	const byItself = "relay goes on by itself"
	return []scenario{
		{
			name: "nats-restart", short: true, fit: ledger.Crashed, run: func(h *house) { natsGone(h, 2, (*node).stop) },
			fault: "stopped in good order for up to 2 s under load, and started again, twice", holds: byItself,
		},
		{
			name: "nats-kill", fit: ledger.Crashed, run: func(h *house) { natsGone(h, 5, func(n *node) { n.kill() }) },
			fault: "SIGKILL under load, started again after up to 2 s, five times", holds: byItself,
		},
		{
			name: "nats-half-open", fit: ledger.Crashed, run: natsHalfOpen,
			fault: "for 100 s nothing passes the connection, either way, and nobody closes it (toxiproxy)",
			holds: "a second process on a healthy connection takes over; " + byItself,
		},
		{
			name: "nats-slow", fit: ledger.Crashed, run: natsSlow,
			fault: "200 ms of latency, ±100 ms, and 64 KB/s each way for 20 s (toxiproxy)", holds: byItself,
		},
		{
			name: "nats-consumer-deleted", fit: ledger.Crashed, run: consumerDeleted,
			fault: "the consumer of a route is deleted under load, three times", holds: "relay makes it again where it last saw it; what was settled since then is delivered again",
		},
		{
			name: "nats-purge", gone: true, fit: ledger.Crashed, run: purged,
			fault: "the stream is purged while receivers are down", holds: "what is published afterwards is delivered",
		},
		{
			name: "nats-recreate", gone: true, fit: ledger.Crashed, run: recreated,
			fault: "the stream is deleted and made again, behind relay's back",
			holds: "what is published to the new one is delivered, from its first sequence on",
		},
		{
			name: "nats-stream-deleted", ownPostgres: true, gone: true, fit: ledger.Crashed, run: streamDeleted,
			fault: "Postgres is stopped; then the stream of a third route is deleted for good, with messages of it at receivers and dead letters of it that are not in the table",
			holds: "its dead letters stay, come into the table and can be replayed; the route says waiting_for_stream; the others go on",
		},
		{
			name: "nats-leader", cluster: true, fit: ledger.Crashed, run: leaders,
			fault: "three servers, three replicas: the leaders of stream and consumers step down, and one server is killed in turn, six times",
			holds: byItself,
		},
		{
			name: "nats-permission", fit: ledger.Crashed, nats: withUsers, run: permissionTaken,
			fault: "relay's user may no longer publish dead letters, then no longer settle, by SIGHUP, for 6 s each", holds: byItself,
		},
		{
			name: "nats-dlq-full", run: deadLettersFull,
			fault: "the dead-letter stream holds 20 messages and refuses more, until it is made larger",
			holds: "messages that would die wait in their stream; attempts exact",
		},
		{
			name: "nats-dlq-missing", run: deadLettersMissing,
			fault: "the dead-letter stream is deleted, after the table has all of it",
			holds: "relay makes it again; the table has every dead letter; attempts exact",
		},
		{
			name: "nats-disk-full", fit: ledger.Crashed, nats: smallStore, run: diskFull,
			fault: "JetStream's disk, a tmpfs of 16 MiB, is full; then it is larger, and the server is started again",
			holds: "what JetStream confirmed is delivered",
		},
	}
}

func natsGone(h *house, times int, end func(n *node)) {
	h.start(relayOptions{})
	h.warm()
	l := h.flow(130)
	defer l.end()
	for range times {
		h.pause(time.Second, 3*time.Second)
		h.strike(func() { end(h.nodes[0]) })
		h.pause(0, 2*time.Second)
		h.nodes[0].start()
		h.awaitJetStream()
		h.goesOn(l)
	}
}

func natsHalfOpen(h *house) {
	p := newProxy(h.t, h.nodes[0].addr)
	h.start(relayOptions{nats: p.through(h.natsURL)})
	h.warm()
	h.publish(1000, 100)
	h.pause(2*time.Second, 3*time.Second)
	h.strike(func() {
		p.infect("timeout", "upstream", map[string]any{"timeout": 0})
		p.infect("timeout", "downstream", map[string]any{"timeout": 0})
	})
	healed := time.After(100 * time.Second)
	second := h.start(relayOptions{})
	h.settle() // with the first process cut off
	h.stop(second)
	<-healed
	p.heal()
	h.await(h.publish(200, 100))
	h.settle() // by the first process alone
}

func natsSlow(h *house) {
	p := newProxy(h.t, h.nodes[0].addr)
	h.start(relayOptions{nats: p.through(h.natsURL)})
	h.warm()
	l := h.flow(60)
	defer l.end()
	h.pause(time.Second, 2*time.Second)
	for _, direction := range []string{"upstream", "downstream"} {
		p.infect("latency", direction, map[string]any{"latency": 200, "jitter": 100})
		p.infect("bandwidth", direction, map[string]any{"rate": 64})
	}
	before := h.receiver.total()
	<-time.After(20 * time.Second)
	h.note("%d requests in 20 s", h.receiver.total()-before)
	if h.receiver.total() == before {
		h.t.Error("no request was made over the slow link")
	}
	p.heal()
	h.goesOn(l)
}

func leaders(h *house) {
	h.start(relayOptions{})
	h.warm()
	l := h.flow(100)
	defer l.end()
	for i := range 6 {
		h.pause(time.Second, 2*time.Second)
		for _, what := range []string{"STREAM.LEADER.STEPDOWN.ORDERS", "CONSUMER.LEADER.STEPDOWN.ORDERS.relay-billing", "STREAM.LEADER.STEPDOWN." + deadLetters} {
			h.strike(func() { h.stepDown(what) })
		}
		h.pause(500*time.Millisecond, time.Second)
		n := h.nodes[i%len(h.nodes)]
		h.strike(n.kill)
		h.pause(0, 2*time.Second)
		n.start()
		h.awaitJetStream()
		h.goesOn(l)
	}
}

// stepDown asks a leader to give its place up until it has.
func (h *house) stepDown(what string) {
	h.t.Helper()
	await(h.t, patience, "$JS.API."+what+" to succeed", func() bool {
		m, err := h.nc.Request("$JS.API."+what, nil, 2*time.Second)
		return err == nil && bytes.Contains(m.Data, []byte(`"success":true`))
	})
}

// users is the configuration of two users: the test's, who may everything, and
// relay's, who may not publish what is denied.
func users(denied string) string {
	return `authorization { users: [
	{ user: test, password: test }
	{ user: relay, password: relay, permissions: { publish: { allow: ">", deny: [` + denied + `] }, subscribe: ">" } }
] }`
}

func withUsers(_ *house, n *node) {
	n.more = users(`"nothing"`)
	n.user = "test:test@"
}

func permissionTaken(h *house) {
	n := h.nodes[0]
	r := h.start(relayOptions{nats: "nats://relay:relay@" + n.addr})
	h.warm()
	l := h.flow(100)
	defer l.end()
	for _, denied := range []string{`"dlq.>"`, `"$JS.ACK.>"`} {
		h.pause(time.Second, 2*time.Second)
		h.strike(func() { n.reload(users(denied)) })
		<-time.After(6 * time.Second)
		if refused := `Publish to \"` + strings.Trim(denied, `">`); !r.said(refused) {
			h.t.Errorf("relay does not say %s", refused)
		}
		n.reload(users(`"nothing"`))
		h.goesOn(l)
	}
}

// smallStore puts the store on a disk of 16 MiB.
func smallStore(h *house, n *node) {
	h.disk = smallDisk(h.t, "16m")
	n.store = h.disk
}

func diskFull(h *house) {
	n := h.nodes[0]
	h.start(relayOptions{})
	h.warm()
	h.bodyBytes = 64 << 10
	l := h.publish(400, 100) // 25 MiB: the publisher waits for room
	for confirmed := -1; confirmed != l.count(); {
		confirmed = l.count()
		<-time.After(3 * time.Second)
	}
	h.note("%d of 400 messages confirmed when the disk was full", l.count())
	if l.count() == 400 {
		h.t.Error("the disk did not fill up")
	}
	n.kill()
	if err := unix.Mount("tmpfs", h.disk, "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
		h.t.Fatal(err)
	}
	n.start()
	h.awaitJetStream()
}

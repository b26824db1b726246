package chaos_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/chaos/ledger"
)

func receiverFaults() []scenario {
	return []scenario{
		{
			name: "receiver-hostile", short: true, once: true, fit: ledger.Unreached, run: hostile,
			fault: "half of the deliveries meet one to three answers that are no HTTP, too much of it, or too slow, on the bare connection",
			holds: "no duplicate, an endless body after a 200 is a delivery; every failed request has its attempt",
		},
		{
			name: "receiver-outage", routes: 1, fit: ledger.Crashed, run: outage,
			fault: "all receivers answer 503 while 100,000 messages come to wait; then they recover",
			holds: "no one-second bucket above three times the mean; before, the breaker lets through fewer requests than one in a hundred that wait",
		},
		{
			name: "receiver-in-step", timeout: unhurried, once: true, run: inStep,
			fault: "everything in hand fails at once: 503 to all for one second of three, for 20 s",
			holds: "no duplicate; attempts exact",
		},
		{
			name: "receiver-slow-route", routes: 20, timeout: unhurried, once: true, run: slowRoute,
			fault: "one route of 20 has a receiver that takes 1.2 s for an answer",
			holds: "the 19 others are done first; no duplicate; attempts exact",
		},
	}
}

// say answers with a text as it stands.
func say(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// hostileAnswers are what a receiver must not do, and some do.
func hostileAnswers() []reply {
	flood := func(head, again string) func(net.Conn) {
		again = strings.Repeat(again, 1+4096/len(again))
		return func(c net.Conn) {
			_, err := io.WriteString(c, head)
			for err == nil {
				_, err = io.WriteString(c, again)
			}
		}
	}
	drip := func(head, again string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, head)
			for err == nil {
				<-time.After(100 * time.Millisecond)
				_, err = io.WriteString(c, again)
			}
		}
	}
	// A client that goes on with the connection takes the second answer for that to its
	// next request, which no app gets.
	twice := func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}
	return []reply{
		{raw: say("")},
		{raw: func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }},
		{raw: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }}, // silence, until relay gives up
		{raw: say("HTTP/1.1 200 OK\r\nA: b\r\n")},
		{raw: say("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n")},
		{raw: say("HTTP/1.1 abc OK\r\n\r\n")},
		{raw: say("220 mail.example.com ESMTP\r\n")},
		{raw: say("\x00\x01\x02\r\n\r\n")},
		{raw: say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")},
		{raw: flood("HTTP/1.1 200 OK\r\n", "A: b\r\n")},
		{raw: flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")},
		{raw: flood("HTTP/1.1 503 Busy\r\n\r\n", "sorry "), status: http.StatusServiceUnavailable},
		{raw: say("HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"), status: http.StatusTemporaryRedirect},
		{raw: say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), status: http.StatusOK},
		{raw: flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nmore\r\n"), status: http.StatusOK},
		{raw: drip("HTTP/1.1 200 OK\r\n", "A: b\r\n")},
		{raw: drip("HTTP/1.1 503 Busy\r\n\r\n", "s"), status: http.StatusServiceUnavailable},
		{raw: drip("HTTP/1.1 200 OK\r\n\r\n", "o"), status: http.StatusOK},
		{raw: say(gzipBomb()), status: http.StatusOK},
		{raw: twice, status: http.StatusServiceUnavailable},
	}
}

// gzipBomb is a 200 with 16 MiB in 16 KiB.
func gzipBomb() string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 16<<20)) // a buffer takes all
	_ = z.Close()
	return "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + b.String()
}

// hostileMix answers half of the deliveries badly at first, and all as usual then.
func (h *house) hostileMix() script {
	answers := hostileAnswers()
	return func(q ledger.Request, nth int) reply {
		if d := h.dice(q.Key) >> 4; d%2 == 0 && nth <= int(1+d%3) {
			return answers[(int(d)+nth)%len(answers)]
		}
		return h.mixed(q, nth)
	}
}

func hostile(h *house) {
	h.start(relayOptions{})
	h.warm()
	h.receiver.answer(h.hostileMix())
	h.await(h.publish(300, 100))
}

// publishMany publishes small messages as fast as JetStream confirms them.
func (h *house) publishMany(n int) {
	h.t.Helper()
	l := &load{routes: h.routes, done: make(chan struct{})}
	h.loads = append(h.loads, l)
	defer close(l.done)
	const batch = 1000
	for from := 0; from < n; from += batch {
		var acks []jetstream.PubAckFuture
		for range batch {
			m := &nats.Msg{Subject: fmt.Sprintf("orders.%06d", h.numbered), Data: fmt.Appendf(nil, `{"number":%d}`, h.numbered)}
			h.numbered++
			ack, err := h.js.PublishMsgAsync(m)
			if err != nil {
				h.t.Fatal(err)
			}
			acks = append(acks, ack)
		}
		for _, ack := range acks {
			select {
			case ok := <-ack.Ok():
				l.add(ack.Msg(), ok)
			case err := <-ack.Err():
				h.t.Fatal(err)
			}
		}
	}
}

func outage(h *house) {
	const waiting = 100_000
	h.start(relayOptions{args: []string{"--log-level", "warn"}})
	h.warm()
	warmed := h.receiver.total()
	h.receiver.answer(always(http.StatusServiceUnavailable))
	h.publishMany(waiting)
	h.pause(3*time.Second, 5*time.Second)
	probes := h.receiver.total()
	if made := probes - warmed; made > waiting/100 {
		h.t.Errorf("%d requests in the outage: the breaker did not hold them", made)
	}
	h.receiver.answer(always(http.StatusNoContent))
	recovered := time.Now()
	if !within(5*time.Minute, func() bool {
		c, err := h.consumer(context.Background(), h.routes[0])
		return err == nil && c.Unsettled == 0
	}) {
		h.t.Error("the messages that waited are not delivered after five minutes")
	}
	took := time.Since(recovered)
	h.receiver.mu.Lock()
	at := slices.Clone(h.receiver.at[probes:])
	h.receiver.mu.Unlock()
	buckets := make([]int, 1+int(took/time.Second))
	for _, t := range at {
		if i := int(t.Sub(recovered) / time.Second); i >= 0 && i < len(buckets) {
			buckets[i]++
		}
	}
	mean := float64(len(at)) / took.Seconds()
	h.note("%d requests in the outage; drained in %.1f s, %.0f a second, at most %d in one", probes-warmed, took.Seconds(), mean, slices.Max(buckets))
	if float64(slices.Max(buckets)) > 3*mean {
		h.t.Errorf("requests a second after the recovery: %v, mean %.0f", buckets, mean)
	}
}

func inStep(h *house) {
	h.start(relayOptions{})
	h.warm()
	began := time.Now()
	h.receiver.answer(func(q ledger.Request, nth int) reply {
		if since := time.Since(began); since < 20*time.Second && int(since.Seconds())%3 == 0 {
			return reply{status: http.StatusServiceUnavailable, after: 10 * time.Millisecond}
		}
		return h.mixed(q, nth)
	})
	h.await(h.publish(2000, 100))
}

func slowRoute(h *house) {
	h.start(relayOptions{})
	h.warm()
	slow := h.routes[0]
	h.receiver.answer(func(q ledger.Request, _ int) reply {
		if q.Route == slow {
			return reply{status: http.StatusNoContent, after: 1200 * time.Millisecond}
		}
		return reply{status: http.StatusNoContent}
	})
	h.await(h.publish(200, 100))
	await(h.t, patience, "the 19 routes to be done", func() bool {
		for _, route := range h.routes[1:] {
			if c, err := h.consumer(context.Background(), route); err != nil || c.Unsettled > 0 {
				return false
			}
		}
		return true
	})
	c, err := h.consumer(context.Background(), slow)
	if err != nil {
		h.t.Fatal(err)
	}
	h.note("%d messages of the slow route were left when the others were done", c.Unsettled)
	if c.Unsettled == 0 {
		h.t.Error("the others were not done before the slow route")
	}
}

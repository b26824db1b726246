package chaos_test

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"relay/chaos/ledger"
)

func relayFaults() []scenario {
	return []scenario{
		{
			name: "baseline", timeout: unhurried, once: true, run: undisturbed,
			fault: "none: the day that the others are compared with",
			holds: "no duplicate; attempts exact; replays come to their end; goroutines, descriptors and memory come back",
		},
		{
			name: "relay-kill", short: true, fit: ledger.Crashed, kills: 4, run: func(h *house) { killed(h, 4) },
			fault: "SIGKILL at random moments of start and work, 4 times",
			holds: "duplicates: no more than were in hand at a kill",
		},
		{
			name: "relay-kill-200", fit: ledger.Crashed, kills: 200, deaths: 200, run: func(h *house) { killed(h, 200) },
			fault: "SIGKILL at random moments of start and work, 200 times",
			holds: "duplicates: no more than were in hand at a kill",
		},
		{
			name: "relay-pause", fit: ledger.Crashed, run: paused,
			fault: "SIGSTOP for twice the AckWait, twice, then SIGCONT",
			holds: "the process goes on by itself",
		},
		{
			name: "relay-stop", timeout: unhurried, once: true, run: stopped,
			fault: "SIGTERM, three times, while receivers take a second for an answer",
			holds: "exit 0; no duplicate; attempts exact",
		},
		{
			name: "relay-two", fit: ledger.Crashed, run: two,
			fault: "two processes, one after the other killed, stopped, or paused for an AckWait, twice each",
			holds: "the other one takes over",
		},
		{
			name: "relay-descriptors", timeout: unhurried, run: noDescriptors,
			fault: "prlimit takes one descriptor after the other from the process until there are too few, and gives them back 8 s later; receivers take 100 ms and close each connection",
			holds: "no attempt is used up: attempts exact; the process goes on by itself when it may open more",
		},
		{
			name: "relay-memory", timeout: unhurried, once: true, run: littleMemory,
			fault: "GOMEMLIMIT=64MiB, --max-in-flight-bytes 8 MiB, 150 bodies of 512 KiB, slow receivers",
			holds: "resident memory stays below 192 MiB; no duplicate; attempts exact",
		},
		{
			name: "relay-reload", timeout: unhurried, once: true, run: badReload,
			fault: "a broken routes file is put in force under load, twice, then one with another concurrency",
			holds: "the broken one is refused and changes nothing; no duplicate; attempts exact",
		},
		{
			name: "relay-clock", timeout: unhurried, once: true, run: clockJumps,
			fault: "the clock of the process jumps an hour and a day forward and back, eight times, under retries with dates, deaths and replays at a rate",
			holds: "no duplicate; attempts exact; nothing expires (max_age is 30 m), no retry or replay waits for the clock; relay is idle when nothing is to be done",
		},
		{
			name: "relay-poison", fit: ledger.Crashed, run: poison,
			fault:  "one message kills the process whenever its request arrives; the process is started again each time",
			deaths: 1,
			holds:  "three requests of it, then a dead letter with the reason poison; all others are delivered",
		},
	}
}

func undisturbed(h *house) {
	r := h.start(relayOptions{})
	h.warm()
	h.await(h.publish(1000, 300))
	h.settle()
	if err := r.replay("billing", ""); err != nil {
		h.t.Errorf("replay what is dead: %v", err)
	}
}

func killed(h *house, times int) {
	h.start(relayOptions{})
	h.warm()
	l := h.flow(130)
	defer l.end()
	for i := range times {
		h.pause(50*time.Millisecond, 1200*time.Millisecond)
		if i%2 == 0 {
			h.strike(h.current().kill)
		} else {
			h.current().kill()
		}
		h.launch(relayOptions{})
	}
	h.goesOn(l)
}

func paused(h *house) {
	r := h.start(relayOptions{})
	h.warm()
	l := h.flow(60)
	defer l.end()
	for range 2 {
		h.pause(time.Second, 2*time.Second)
		h.strike(func() { r.signal(syscall.SIGSTOP) })
		<-time.After(2 * ackWait)
		r.signal(syscall.SIGCONT)
		h.goesOn(l)
	}
}

func stopped(h *house) {
	r := h.start(relayOptions{})
	h.warm()
	h.receiver.answer(h.slower(time.Second))
	h.publish(100, 100)
	for range 3 {
		h.pause(time.Second, 2*time.Second)
		h.strike(func() { h.stop(r) })
		r = h.start(relayOptions{})
	}
}

func two(h *house) {
	pair := []*relay{h.start(relayOptions{}), nil}
	h.warm()
	pair[1] = h.start(relayOptions{})
	l := h.flow(100)
	defer l.end()
	for i, fault := range h.rng.Perm(6) {
		h.pause(500*time.Millisecond, 1500*time.Millisecond)
		r := pair[i%2]
		switch fault % 3 {
		case 0:
			h.strike(r.kill)
		case 1:
			h.strike(func() { h.stop(r) })
		default:
			h.strike(func() { r.signal(syscall.SIGSTOP) })
			<-time.After(ackWait)
		}
		h.goesOn(l) // by the other one
		if r.ended() {
			pair[i%2] = h.start(relayOptions{})
		} else {
			r.signal(syscall.SIGCONT)
		}
	}
}

func noDescriptors(h *house) {
	r := h.start(relayOptions{})
	h.warm()
	// Without connections that wait for reuse, and with many at once.
	h.receiver.srv.Config.SetKeepAlivesEnabled(false)
	h.receiver.answer(h.slower(100 * time.Millisecond))
	h.publish(1500, 100)
	h.pause(time.Second, 2*time.Second)
	var usual unix.Rlimit
	limit := func(to, was *unix.Rlimit) {
		if err := unix.Prlimit(r.cmd.Process.Pid, unix.RLIMIT_NOFILE, to, was); err != nil {
			h.t.Fatal(err)
		}
	}
	limit(nil, &usual)
	for few := uint64(h.atRest.descriptors); !r.said("too many open files"); few-- {
		if few == 0 {
			h.t.Fatal("relay does not feel that it may open nothing")
		}
		limit(&unix.Rlimit{Cur: few, Max: usual.Max}, nil)
		h.pause(100*time.Millisecond, 200*time.Millisecond)
	}
	<-time.After(8 * time.Second)
	limit(&usual, nil)
}

func littleMemory(h *house) {
	r := h.start(relayOptions{env: []string{"GOMEMLIMIT=64MiB"}, args: []string{"--max-in-flight-bytes", "8388608"}})
	h.warm()
	h.bodyBytes = 512 << 10
	h.receiver.answer(h.slower(200 * time.Millisecond))
	l := h.publish(150, 100)
	peak := 0
	for stop := false; !stop; {
		if f, ok := r.figures(); ok {
			peak = max(peak, f.resident)
		}
		select {
		case <-l.done:
			stop = h.unsettled() == ""
		case <-time.After(100 * time.Millisecond):
		}
	}
	h.note("peak %d MiB", peak>>20)
	if peak > 192<<20 {
		h.t.Errorf("relay held %d MiB", peak>>20)
	}
}

func badReload(h *house) {
	r := h.start(relayOptions{})
	h.warm()
	good := h.routesYAML()
	h.publish(1500, 150)
	for _, broken := range []string{"routes: [", strings.Replace(good, "timeout: "+h.timeout.String(), "timeout: soon", 1)} {
		h.pause(time.Second, 2*time.Second)
		h.writeRoutes(broken)
		if status, body, err := r.do(http.MethodPost, "/api/v1/reload", ""); err != nil || status < 400 {
			h.t.Errorf("a broken file was put in force: %d %s %v", status, body, err)
		}
		r.signal(syscall.SIGHUP)
	}
	h.pause(time.Second, 2*time.Second)
	h.writeRoutes(strings.Replace(good, "concurrency: 8", "concurrency: 3", 1))
	if status, body, err := r.do(http.MethodPost, "/api/v1/reload", ""); err != nil || status >= 300 {
		h.t.Errorf("a good file was refused: %d %s %v", status, body, err)
	}
}

func poison(h *house) {
	// It harms the route billing only, and whichever process sends it.
	victim := ledger.Key{Route: "billing", Subject: "orders.000150"}
	var mu sync.Mutex
	r := h.start(relayOptions{})
	h.warm()
	died := make(chan struct{}, 16)
	h.receiver.answer(func(q ledger.Request, nth int) reply {
		if q.Key != victim {
			return always(http.StatusNoContent)(q, nth)
		}
		mu.Lock()
		defer mu.Unlock()
		r.signal(syscall.SIGKILL)
		died <- struct{}{}
		return reply{status: 0, after: time.Minute}
	})
	h.publish(1500, 100)
	for range 3 {
		select {
		case <-died:
		case <-time.After(settling):
			h.t.Fatal("the message did not come again")
		}
		<-r.exited
		next := h.launch(relayOptions{})
		mu.Lock()
		r = next
		mu.Unlock()
	}
	h.settle()
	requests, reason := 0, ""
	f := h.facts()
	for _, q := range f.Requests {
		if q.Key == victim {
			requests++
		}
	}
	for _, row := range f.Rows {
		switch {
		case row.Key == victim:
			reason = row.Reason
		case row.Reason == "poison":
			h.t.Errorf("%v is taken for poison", row.Key)
		}
	}
	if requests != 3 || reason != "poison" {
		h.t.Errorf("%d requests of the message, and it is dead of %q; want 3, and poison", requests, reason)
	}
}

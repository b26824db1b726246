package chaos_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"relay/chaos/ledger"
)

func soak() []scenario {
	return []scenario{{
		name: "soak", ownPostgres: true, fit: ledger.Crashed | ledger.Unreached, deaths: 200, run: soaked,
		fault: "every 2 s a random one of 15 faults of two processes, NATS, Postgres, the receivers or the connections between; the result lists them",
		holds: "the memory of the process that is never killed does not grow",
	}}
}

// soakFor reads how long the soak goes on.
func soakFor(h *house) time.Duration {
	text := os.Getenv("CHAOS_SOAK")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		h.t.Fatalf("CHAOS_SOAK=%q: want a duration, such as 30m", text)
	}
	return d
}

func soaked(h *house) {
	const every = 2 * time.Second
	long := soakFor(h)
	p := newProxy(h.t, h.nodes[0].addr)
	clock := h.newClock()
	steady := h.start(relayOptions{nats: p.through(h.natsURL), clock: clock.path})
	h.warm()
	mortal := h.start(relayOptions{})

	n := h.nodes[0]
	again := func() {
		n.start()
		h.awaitJetStream()
	}
	stopDatabase := func(mode string) {
		if err := h.pg.Stop(mode); err != nil {
			h.t.Fatal(err)
		}
		h.pause(0, 2*time.Second)
		if err := h.pg.Start(); err != nil {
			h.t.Fatal(err)
		}
	}
	freeze := func(pids ...int) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		h.pause(500*time.Millisecond, 3*time.Second)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	faults := []struct {
		name string
		make func()
	}{
		{"relay killed", func() { mortal.kill(); h.pause(0, time.Second); mortal = h.start(relayOptions{}) }},
		{"relay stopped", func() { h.stop(mortal); mortal = h.start(relayOptions{}) }},
		{"relay paused", func() { freeze(steady.cmd.Process.Pid) }},
		{"relay's clock jumped", func() {
			clock.move(time.Duration(h.rng.IntN(49)-24) * time.Hour)
			h.pause(time.Second, 4*time.Second)
			clock.move(0)
		}},
		{"NATS killed", func() { n.kill(); h.pause(0, time.Second); again() }},
		{"NATS stopped", func() { n.stop(); h.pause(0, time.Second); again() }},
		{"NATS paused", func() { freeze(n.cmd.Process.Pid) }},
		{"connection to NATS cut", func() {
			p.infect("timeout", "upstream", map[string]any{"timeout": 0})
			p.infect("timeout", "downstream", map[string]any{"timeout": 0})
			h.pause(time.Second, 4*time.Second)
			p.heal()
		}},
		{"Postgres crashed", func() { stopDatabase("immediate") }},
		{"Postgres stopped", func() { stopDatabase("fast") }},
		{"Postgres paused", func() { freeze(h.postgresProcesses()...) }},
		{"receivers down", func() { h.receiver.answer(always(http.StatusServiceUnavailable)); h.pause(0, 3*time.Second) }},
		{"receivers hostile", func() { h.receiver.answer(h.hostileMix()); h.pause(0, 3*time.Second) }},
		{"receivers hang up", func() { h.receiver.srv.CloseClientConnections() }},
		{"routes file broken", func() {
			h.writeRoutes(strings.Replace(h.routesYAML(), "routes:", "rutes:", 1))
			steady.signal(syscall.SIGHUP)
			h.pause(0, time.Second)
			h.writeRoutes(h.routesYAML())
			steady.signal(syscall.SIGHUP)
		}},
	}
	l := h.flow(50)
	made := map[string]int{}
	var memory course
	for end := time.Now().Add(long); time.Now().Before(end); {
		next := time.After(every)
		f := faults[h.rng.IntN(len(faults))]
		f.make()
		h.receiver.answer(h.mixed)
		made[f.name]++
		<-next
		if f, ok := steady.figures(); ok {
			memory = append(memory, f.resident>>20)
		}
	}
	l.end()
	h.note("%s of faults: %s; resident MiB over time: %s", long, strings.Trim(fmt.Sprint(made)[len("map"):], "[]"), memory)
	if !memory.flat() {
		h.t.Errorf("memory grows: %s MiB", memory)
	}
}

// course is how much memory a process held after each fault, in MiB.
type course []int

// mean is that of one of so many equal parts, from 0.
func (c course) mean(part, parts int) int {
	sum, some := 0, c[part*len(c)/parts:(part+1)*len(c)/parts]
	for _, v := range some {
		sum += v
	}
	return sum / max(1, len(some))
}

// flat says whether the last quarter held no more than the second one, but for a
// quarter and 8 MiB: in the first one the heap grows to what the faults ask of it.
func (c course) flat() bool { return c.mean(3, 4) <= c.mean(1, 4)*5/4+8 }

// String tells ten means.
func (c course) String() string {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "%d ", c.mean(i, 10))
	}
	return strings.TrimSpace(b.String())
}

func TestCourse(t *testing.T) {
	tests := []struct {
		name string
		of   func(i int) int
		flat bool
	}{
		{"even", func(int) int { return 60 }, true},
		{"up at first, as a cache fills", func(i int) int { return 40 + min(i, 200) }, true},
		{"saw teeth", func(i int) int { return 50 + i%20 }, true},
		{"a leak of 100 KiB a fault", func(i int) int { return 40 + i/10 }, false},
	}
	for _, tt := range tests {
		var c course
		for i := range 900 { // half an hour of them
			c = append(c, tt.of(i))
		}
		if c.flat() != tt.flat {
			t.Errorf("%s: flat is %t, want %t: %s", tt.name, c.flat(), tt.flat, c)
		}
	}
	if (course{}).String() == "" || !(course{}).flat() {
		t.Error("a soak without a figure is not flat")
	}
}

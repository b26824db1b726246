package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"

	"relay/chaos/ledger"
)

// binEnv names the folder into which this process builds relay.
const binEnv = "CHAOS_BIN"

func TestMain(m *testing.M) {
	if config := os.Getenv(natsEnv); config != "" {
		if err := serveNATS(config); err != nil {
			fmt.Fprintln(os.Stderr, "nats-server:", err)
			os.Exit(1)
		}
		return
	}
	toxics.Register(atCommitName, &atCommit{})
	bin, err := os.MkdirTemp("", "relay-chaos-")
	if err == nil {
		err = os.Setenv(binEnv, bin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(bin)
	os.Exit(code)
}

// unhurried is a timeout that only a hanging receiver runs into.
const unhurried = 20 * time.Second

// scenario is one fault, or one kind of them.
type scenario struct {
	name string
	// fault says how it is made, and holds what must hold besides an empty set of lost
	// messages, equal bytes, and one row for each dead letter.
	fault, holds string
	// fit is how closely the attempts in the table have to fit the requests.
	fit ledger.Fit
	run func(h *house)

	short       bool                    // part of the short form
	ownPostgres bool                    // the run stops its Postgres
	cluster     bool                    // NATS is three servers
	routes      int                     // 0: the usual two
	nats        func(h *house, n *node) // changes the one server
	// timeout is an attempt's; 0: 1.5 s. It is long where no duplicate may be, and
	// nothing but a slow machine could make one.
	timeout time.Duration
}

func scenarios() []scenario {
	return slices.Concat(relayFaults(), windowFaults(), natsFaults(), postgresFaults(), receiverFaults(), soak())
}

// chosen are the scenarios that CHAOS_RUN asks for.
func chosen(t *testing.T) []scenario {
	t.Helper()
	all, want := scenarios(), os.Getenv("CHAOS_RUN")
	if want == "all" {
		return all
	}
	if want == "" {
		return slices.DeleteFunc(all, func(s scenario) bool { return !s.short })
	}
	var some []scenario
	for name := range strings.SplitSeq(want, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			t.Fatalf("CHAOS_RUN: there is no scenario %q; go test -run TestNames -v lists them", name)
		}
		some = append(some, all[i])
	}
	return some
}

// setting reads a whole number of the environment.
func setting(t *testing.T, name string, unset uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a whole number", name, text)
	}
	return n
}

func TestChaos(t *testing.T) {
	seed := setting(t, "CHAOS_SEED", rand.Uint64N(1_000_000))
	var lines []string
	for _, s := range chosen(t) {
		for i := range setting(t, "CHAOS_SEEDS", 1) {
			line := fmt.Sprintf("FAILED %s seed %d", s.name, seed+i) // unless it comes to its end
			t.Run(fmt.Sprintf("%s/seed=%d", s.name, seed+i), func(t *testing.T) {
				line = s.try(t, seed+i)
			})
			lines = append(lines, line)
		}
	}
	t.Logf("\n%s", strings.Join(lines, "\n"))
}

// try runs the scenario once and returns its line of the summary.
func (s scenario) try(t *testing.T, seed uint64) string {
	began := time.Now()
	h := open(t, seed, s)
	t.Logf("%s: CHAOS_RUN=%s CHAOS_SEED=%d", s.fault, s.name, seed)
	s.run(h)
	r := h.report()
	if err := r.Err(s.fit); err != nil {
		t.Error(err)
	}
	result := "ok"
	if t.Failed() {
		result = "FAILED"
	}
	line := fmt.Sprintf("%s %s seed %d in %.0fs: %s", result, s.name, seed, time.Since(began).Seconds(), r)
	for _, n := range h.notes {
		line += "; " + n
	}
	t.Log(line)
	return line
}

// The names are what people type, and what docs/reliability.md lists.
func TestNames(t *testing.T) {
	page, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range scenarios() {
		t.Logf("%s\n\t%s\n\t%s", s.name, s.fault, s.holds)
		if seen[s.name] {
			t.Errorf("two scenarios are called %s", s.name)
		}
		seen[s.name] = true
		if !strings.Contains(string(page), "`"+s.name+"`") {
			t.Errorf("docs/reliability.md does not list %s", s.name)
		}
	}
}

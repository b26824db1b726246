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
	once        bool                    // nothing explains a duplicate
	kills       int                     // what was in hand at so many explains them; 0: there is no bound
	ownPostgres bool                    // the run stops its Postgres
	disk        string                  // how large a disk of its own that Postgres has; empty: none
	cluster     bool                    // NATS is three servers
	routes      int                     // 0: the usual two
	push        bool                    // their consumers are push consumers
	gone        bool                    // the run takes messages out of their stream
	deaths      int                     // how many the fault may bring about that no receiver asked for
	nats        func(h *house, n *node) // changes the one server
	// timeout is an attempt's; 0: 1.5 s. It is long where no duplicate may be, and
	// nothing but a slow machine could make one.
	timeout time.Duration
}

func scenarios() []scenario {
	return slices.Concat(relayFaults(), windowFaults(), natsFaults(), pushFaults(), postgresFaults(), receiverFaults(), soak())
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
	if _, err := buildPlain(); err != nil { // before any run is timed
		t.Fatal(err)
	}
	var summary []string
	rows := map[string]string{} // of each scenario the last run's, or that of one that failed
	for _, s := range chosen(t) {
		for i := range setting(t, "CHAOS_SEEDS", 1) {
			began, result := time.Now(), ""
			passed := t.Run(fmt.Sprintf("%s/seed=%d", s.name, seed+i), func(t *testing.T) {
				result = s.try(t, seed+i)
			})
			word := "passed"
			if !passed {
				word = "FAILED"
			}
			row := s.row(seed+i, time.Since(began), word+", "+began.UTC().Format(time.DateOnly)+": "+result)
			t.Log(row)
			summary = append(summary, row)
			if !strings.Contains(rows[s.name], "FAILED") {
				rows[s.name] = row
			}
		}
	}
	t.Logf("\n%s%s", matrixHead, strings.Join(summary, "\n"))
	if os.Getenv("CHAOS_RECORD") != "" {
		record(t, rows)
	}
}

// try runs the scenario once and says what became of its messages.
func (s scenario) try(t *testing.T, seed uint64) string {
	h := open(t, seed, s)
	t.Logf("%s: CHAOS_RUN=%s CHAOS_SEED=%d", s.fault, s.name, seed)
	s.run(h)
	r := h.report()
	if err := r.Err(s.fit); err != nil {
		t.Error(err)
	}
	if s.gone && r.Gone == 0 {
		t.Error("the fault took away no message that was under way")
	}
	if h.needless > s.deaths {
		t.Errorf("%d died that their receivers would have taken, and the fault explains %d", h.needless, s.deaths)
	}
	if s.once && r.Duplicated > 0 {
		t.Errorf("%d duplicates, and nothing was killed or cut off", r.Duplicated)
	}
	if most := s.kills * concurrency * len(h.routes); s.kills > 0 && r.Duplicated > most {
		t.Errorf("%d duplicates, and no more than %d messages can have been in hand", r.Duplicated, most)
	}
	h.end()
	t.Log(r)
	return strings.Join(append([]string{r.Brief()}, h.notes...), "; ")
}

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/chaos/ledger"
)

func (h *house) await(l *load) {
	h.t.Helper()
	await(h.t, settling, "the publisher to have every message confirmed", func() bool {
		select {
		case <-l.done:
			return true
		default:
			return false
		}
	})
}

// settle waits until everything that was published has come to its end.
func (h *house) settle() {
	h.t.Helper()
	for _, l := range h.loads {
		h.await(l)
	}
	quiet := 0 // a consumer that has not seen the newest message yet counts as done for a moment
	left := ""
	if !within(settling, func() bool {
		if left = h.unsettled(); left != "" {
			quiet = 0
			return false
		}
		quiet++
		return quiet == 5
	}) {
		h.t.Errorf("not settled after %s: %s", settling, left)
	}
}

// unsettled says which consumers have something before them, or are not there.
func (h *house) unsettled() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var left []string
	for stream, consumers := range map[string]int{
		"ORDERS": len(h.routes), "RELAY_REPLAY": len(h.routes), deadLetters: 1, "RELAY_ATTEMPTS": 1,
	} {
		s, err := h.js.Stream(ctx, stream)
		if err != nil {
			return fmt.Sprintf("stream %s: %v", stream, err)
		}
		all := s.ListConsumers(ctx)
		for c := range all.Info() {
			if c.Config.Durable == "" {
				continue // the test's own, that read the stream before
			}
			consumers--
			if c.NumPending > 0 || c.NumAckPending > 0 {
				left = append(left, fmt.Sprintf("%s of %s has %d messages to deliver and %d to hear of", c.Name, stream, c.NumPending, c.NumAckPending))
			}
		}
		if err := all.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return fmt.Sprintf("consumers of %s: %v", stream, err)
		}
		if consumers > 0 {
			left = append(left, fmt.Sprintf("stream %s lacks %d consumers", stream, consumers))
		}
	}
	if len(left) == 0 {
		left = h.replaying(ctx)
	}
	return strings.Join(left, "; ")
}

// replaying says how many replays the table still waits for.
func (h *house) replaying(ctx context.Context) []string {
	n, err := h.count(ctx, `SELECT (SELECT count(*) FROM dead_letters WHERE state = 'replaying') +
		(SELECT count(*) FROM replay_jobs WHERE finished_at IS NULL)`)
	switch {
	case err != nil:
		return []string{err.Error()}
	case n > 0:
		return []string{fmt.Sprintf("%d replays and jobs are under way", n)}
	}
	return nil
}

// report settles the run and asks the ledger. It notes the deaths that no receiver
// asked for, as mixed would have it: their attempts were used up by the fault.
func (h *house) report() *ledger.Report {
	h.t.Helper()
	h.settle()
	f := h.facts()
	for _, row := range f.Rows {
		if h.dice(row.Key)%100 >= deadly {
			h.needless++
		}
	}
	if h.needless > 0 {
		h.note("%d died of the fault and not of their receiver", h.needless)
	}
	if h.resumed > 0 {
		h.note("went on within %s", h.resumed.Round(10*time.Millisecond))
	}
	return ledger.Check(f)
}

// end waits until relay uses no more than before the faults, but for what a later moment
// may explain: connections that wait for reuse, a heap that has grown. Then it ends
// the processes, which have to say that nothing is left in hand.
func (h *house) end() {
	h.t.Helper()
	if h.warmed == nil {
		h.t.Fatal("the scenario did not warm relay up")
	}
	r, before := h.warmed, h.atRest
	if r.ended() {
		r = h.current()
	}
	var now figures
	spare := 30 + 2*concurrency*len(h.routes)
	back := within(patience, func() bool {
		f, ok := r.figures()
		now = f
		return ok && f.goroutines <= before.goroutines+2*spare && f.descriptors <= before.descriptors+spare &&
			f.resident <= 2*before.resident+64<<20
	})
	h.note("%s, then %s", before, now)
	if !back {
		h.t.Errorf("%s does not come back: %s before the faults, %s after them", r.name, before, now)
	}
	for _, r := range h.relays {
		if !r.ended() {
			h.stop(r)
		}
	}
}

// stop ends the process in good order and checks that it says so.
func (h *house) stop(r *relay) {
	h.t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 0 {
		h.t.Errorf("%s ended with %d, want 0", r.name, code)
	}
}

package chaos_test

import (
	"fmt"
	"time"

	"relay/chaos/ledger"
	"relay/internal/failpoint"
)

// windowFaults end the process in each of the moments between two steps that belong
// together, each time after a number of messages that the seed decides.
func windowFaults() []scenario {
	var all []scenario
	for _, point := range []string{
		failpoint.Answered, failpoint.Parked, failpoint.Termed, failpoint.Settled, failpoint.Projected,
		failpoint.Committed, failpoint.Offered, failpoint.Replayed, failpoint.Recorded,
	} {
		all = append(all, scenario{
			name: "window-" + point, fit: ledger.Crashed, run: func(h *house) { window(h, point) },
			fault: fmt.Sprintf("the process ends as by SIGKILL at the fail point %s, three times, at random counts", point),
			holds: "replays under way come to their end",
		})
	}
	return all
}

func window(h *house, point string) {
	replays := point == failpoint.Offered || point == failpoint.Replayed || point == failpoint.Recorded
	h.start(relayOptions{})
	h.warm()
	h.stop(h.current())
	for range 3 {
		// Every message is answered, some die, and a projection or a job holds many: counts
		// that 150 messages reach.
		most := 3
		switch point {
		case failpoint.Answered, failpoint.Settled:
			most = 40
		case failpoint.Parked, failpoint.Termed:
			most = 20
		}
		r := h.start(relayOptions{failpoint: fmt.Sprintf("%s:%d", point, 1+h.rng.IntN(most))})
		h.publish(150, 300)
		if replays {
			_ = r.replay("billing", "") // the process may die of it before it answers
		}
		died := within(30*time.Second, r.ended)
		if !died {
			h.t.Errorf("the fail point %s was not reached", point)
		} else if !r.said("failpoint " + point) {
			h.t.Errorf("%s ended, and not by the fail point:\n%s", r.name, tail(r.log))
		}
		r.kill()
	}
	h.start(relayOptions{})
	h.settle()
	if replays {
		_ = h.current().replay("billing", "") // of what died while relay was down, if anything did
	}
}

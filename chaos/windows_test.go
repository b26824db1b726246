package chaos_test

import (
	"fmt"
	"net/http"
	"time"

	"relay/chaos/ledger"
	"relay/internal/failpoint"
)

// windowFaults end the process in each of the moments between two steps that belong
// together, each time after a number of messages that the seed decides.
func windowFaults() []scenario {
	var all []scenario
	for _, point := range []string{
		failpoint.Answered, failpoint.Parked, failpoint.Settled, failpoint.Projected,
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
	if replays {
		h.start(relayOptions{})
		h.await(h.publish(200, 500))
		h.settle()
		h.stop(h.current())
	}
	for range 3 {
		// A projection holds many messages, a replay job few: counts that they reach.
		most := 40
		if point == failpoint.Projected || point == failpoint.Committed || replays {
			most = 3
		}
		r := h.start(relayOptions{failpoint: fmt.Sprintf("%s:%d", point, 1+h.rng.IntN(most))})
		h.publish(150, 300)
		if replays {
			h.offer(r)
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
		h.offer(h.current()) // what died while relay was down
	}
}

// offer asks for replays of the route billing. The process may die of it before it
// answers, and may have nothing to replay.
func (h *house) offer(r *relay) {
	status, body, err := r.do(http.MethodPost, "/api/v1/replays", `{"filter":{"route":"billing"}}`)
	if err == nil && status >= 300 {
		h.t.Logf("replays: %d %s", status, body)
	}
}

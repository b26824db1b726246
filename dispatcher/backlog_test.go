package dispatcher

import (
	"testing"
	"time"

	"relay/routes"
)

func TestBacklog(t *testing.T) {
	for name, tt := range map[string]struct {
		route   routes.Route
		retries int // given back, of 100 messages that had their place for 40 ms
		came    int // of them again
		says    int // messages that the server has as not settled
		untried uint64
		want    time.Duration
	}{
		"nothing waits":             {routes.Route{Concurrency: 4}, 0, 0, 100, 0, 0},
		"only retries wait":         {routes.Route{Concurrency: 4}, 50, 0, 100, 0, 0},
		"untried ones wait":         {routes.Route{Concurrency: 4}, 0, 0, 100, 10, 200 * time.Millisecond},
		"and retries":               {routes.Route{Concurrency: 4}, 50, 20, 100, 10, 800 * time.Millisecond},
		"of which many are settled": {routes.Route{Concurrency: 4}, 50, 20, 5, 10, 300 * time.Millisecond},
		"more came than went":       {routes.Route{Concurrency: 4}, 5, 20, 100, 10, 200 * time.Millisecond},
		"a rate limit":              {routes.Route{Concurrency: 4, RateLimit: routes.RateLimit{PerSecond: 10}}, 0, 0, 100, 10, 2 * time.Second},
		"a rate limit that others keep": {routes.Route{Concurrency: 4, RateLimit: routes.RateLimit{PerSecond: 1000}}, 0, 0, 100, 10,
			200 * time.Millisecond},
		"strict order": {routes.Route{Concurrency: 4, Order: routes.OrderStrict}, 50, 0, 100, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBacklog(tt.route)
			for i := range 100 {
				out := Outcome{Verdict: routes.Ack}
				if i < tt.retries {
					out.Verdict = routes.Nak
				}
				b.saw(40*time.Millisecond, out)
			}
			for range tt.came {
				b.cameAgain()
			}
			b.atMost(tt.says)
			if got := b.behind(tt.untried); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := newBacklog(routes.Route{Concurrency: 1}).behind(1 << 40); got != 0 {
		t.Errorf("before any attempt: got %s, want 0", got)
	}
}

package dispatcher_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"relay/internal/testkit"
)

// BenchmarkReload delivers 1,000 messages a second on one route while another one is
// changed ten times a second, and as many without a change, in turn. It reports how
// late they came (p99 and the latest, from when they were due), and the ratios: 1 is a
// reload that the other route does not notice.
func BenchmarkReload(b *testing.B) {
	const rounds, messages, every = 3, 5_000, 100 // 50 reloads a round
	h, r := newHouse(b), testkit.NewReceiver(b, nil)
	other := func(i int) string {
		return fmt.Sprintf(`  - { name: other, filter_subjects: [orders.other], webhook: { url: "%s/other/%d" } }`, r.URL, i)
	}
	d := h.start(twoRoutes(b, r.URL, other(0)))
	var calm, during lateness
	seen := 0
	deliver := func(reload func()) lateness {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		turns, ended := make(chan struct{}, messages/every), make(chan struct{})
		go func() {
			defer close(ended)
			for range turns {
				reload()
			}
		}()
		due := make([]time.Time, messages)
		for i := range messages {
			due[i] = <-tick.C
			if _, err := h.js.PublishAsync("orders.steady", strconv.AppendInt(nil, int64(i), 10)); err != nil {
				b.Fatal(err)
			}
			if i%every == 0 {
				turns <- struct{}{}
			}
		}
		close(turns)
		<-ended
		seen += messages
		r.Wait(b, seen)
		var late lateness
		for _, q := range r.Requests()[seen-messages:] {
			i, err := strconv.Atoi(string(q.Body))
			if err != nil {
				b.Fatal(err)
			}
			late = append(late, q.At.Sub(due[i]))
		}
		return late
	}
	changes := 0
	b.ResetTimer()
	for range rounds {
		calm = append(calm, deliver(func() {})...)
		during = append(during, deliver(func() {
			changes++
			if err := d.Apply(b.Context(), twoRoutes(b, r.URL, other(changes))); err != nil {
				b.Errorf("reload %d: %v", changes, err)
			}
		})...)
	}
	slices.Sort(calm)
	slices.Sort(during)
	for name, at := range map[string]float64{"p99": 0.99, "last": 1} {
		without, with := calm.at(at), during.at(at)
		b.ReportMetric(float64(without.Microseconds()), "calm-"+name+"-µs")
		b.ReportMetric(float64(with.Microseconds()), "reload-"+name+"-µs")
		b.ReportMetric(float64(with)/float64(without), name+"-ratio")
	}
	b.ReportMetric(0, "ns/op") // it says nothing here
}

// lateness is how late messages came.
type lateness []time.Duration

// at is the lateness that this share of the messages, once sorted, does not exceed.
func (l lateness) at(share float64) time.Duration { return l[int(share*float64(len(l)-1))] }

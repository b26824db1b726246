package fleet

import "time"

// Figures tell how a route is doing, over all processes.
type Figures struct {
	// Rate is how many attempts a second there were in the last minute.
	Rate float64
	// Attempts are those of the last quarter of an hour, and Success is the share of
	// them that got a 2xx; meaningless without attempts.
	Attempts uint64
	Success  float64
	// P50 and P95 are quantiles of how long those took; 0: not known.
	P50, P95 time.Duration
	// InFlight is how many messages are in hand now.
	InFlight int
	// BreakersOpen is in how many processes the route's breaker is open.
	BreakersOpen int
	// Classes are the attempts of the last hour: without an answer, and by the first
	// digit of the status.
	Classes [Classes]uint64
	// LastFailure is the newest; zero: there was none.
	LastFailure Failure
	// Hour are the last 60 minutes, the oldest first; the last one goes on.
	Hour [minutes]Minute
}

// Minute is one minute of a route.
type Minute struct {
	Delivered uint64        // attempts that got a 2xx
	Failed    uint64        // the others
	P50, P95  time.Duration // 0: there was no attempt
}

// quarter is how many minutes the figures of now look back.
const quarter = 15

// sum adds up what the processes say of a route.
type sum struct {
	last           count
	hour           [minutes]count // by minutes ago
	inFlight, open int
	failure        Failure
}

// add takes in what one process says; its durations only when its buckets are ours.
func (s *sum) add(r route, sameBounds bool) {
	s.last.add(r.Last, sameBounds)
	s.inFlight += r.InFlight
	if r.Open {
		s.open++
	}
	if r.Failure.At.After(s.failure.At) {
		s.failure = r.Failure
	}
	for _, h := range r.Hour {
		if h.Ago >= 0 && h.Ago < minutes {
			s.hour[h.Ago].add(h.count, sameBounds)
		}
	}
}

func (s *sum) figures(bounds []float64) Figures {
	f := Figures{Rate: float64(s.last.attempts()) / time.Minute.Seconds(), InFlight: s.inFlight, BreakersOpen: s.open, LastFailure: s.failure}
	var recent count
	for ago, c := range s.hour {
		if ago < quarter {
			recent.add(c, true)
		}
		for i, n := range c.Classes {
			f.Classes[i] += n
		}
		f.Hour[minutes-1-ago] = Minute{
			Delivered: c.Classes[2], Failed: c.attempts() - c.Classes[2],
			P50: quantile(c.Buckets, bounds, 0.5), P95: quantile(c.Buckets, bounds, 0.95),
		}
	}
	f.Attempts = recent.attempts()
	if f.Attempts > 0 {
		f.Success = float64(recent.Classes[2]) / float64(f.Attempts)
	}
	f.P50, f.P95 = quantile(recent.Buckets, bounds, 0.5), quantile(recent.Buckets, bounds, 0.95)
	return f
}

// quantile finds the bucket in which the share q ends, and where in it if its attempts
// are spread evenly. What is above all bounds counts as the last bound.
func quantile(buckets []uint64, bounds []float64, q float64) time.Duration {
	var all uint64
	for _, n := range buckets {
		all += n
	}
	if all == 0 || len(buckets) != len(bounds)+1 {
		return 0
	}
	rank, below, low := q*float64(all), 0.0, 0.0
	for i, n := range buckets[:len(bounds)] {
		if below+float64(n) >= rank && n > 0 {
			seconds := low + (bounds[i]-low)*(rank-below)/float64(n)
			return time.Duration(seconds * float64(time.Second))
		}
		below, low = below+float64(n), bounds[i]
	}
	return time.Duration(low * float64(time.Second))
}

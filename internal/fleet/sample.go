package fleet

import (
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// The classes of an attempt: no answer, then the first digit of its status.
const (
	NoAnswer = 0
	Classes  = 6
)

// count is what happened in a stretch of time.
type count struct {
	Classes [Classes]uint64 `json:"c"`
	Buckets []uint64        `json:"b"` // attempts by duration; the last is over all bounds
}

func (c *count) add(d count, sameBounds bool) {
	for i, n := range d.Classes {
		c.Classes[i] += n
	}
	if !sameBounds {
		return
	}
	if len(c.Buckets) < len(d.Buckets) {
		c.Buckets = append(c.Buckets, make([]uint64, len(d.Buckets)-len(c.Buckets))...)
	}
	for i, n := range d.Buckets {
		c.Buckets[i] += n
	}
}

func (c *count) attempts() (n uint64) {
	for _, of := range c.Classes {
		n += of
	}
	return n
}

const (
	minutes = 60
	samples = int(time.Minute / sampleEvery) // of the last minute
)

// route is what a process says of a route.
type route struct {
	InFlight int     `json:"in_flight"`
	Open     bool    `json:"breaker_open"`
	Last     count   `json:"last"` // minute
	Hour     []hour  `json:"hour"` // minutes in which something happened
	Failure  Failure `json:"failure,omitzero"`
}

// hour is one minute of the last hour.
type hour struct {
	Ago int `json:"ago"` // minutes; 0 is the one that goes on
	count
}

// history is what one route of this process did.
type history struct {
	total    count // since the start, as last sampled
	recent   [samples]count
	minutes  [minutes]count
	minuteOf [minutes]int64 // which minute since 1970 stands there
	inFlight int
	open     bool
}

// sampler turns counters into what happened in the last minute and hour.
type sampler struct {
	routes map[string]*history
	bounds []float64
	n      int   // samples taken
	minute int64 // of the last one, since 1970
	lag    int
}

// add takes the metrics as they stand now.
func (s *sampler) add(families []*dto.MetricFamily, now time.Time) {
	totals := s.read(families)
	s.n++
	s.minute = now.Unix() / 60
	for name, h := range s.routes {
		total, there := totals[name]
		if !there {
			delete(s.routes, name) // the route has gone from the file
			continue
		}
		since := difference(total, h.total)
		h.total = total
		h.recent[s.n%samples] = since
		slot := s.minute % minutes
		if h.minuteOf[slot] != s.minute {
			h.minuteOf[slot], h.minutes[slot] = s.minute, count{}
		}
		if since.attempts() > 0 {
			h.minutes[slot].add(since, true)
		}
	}
}

// read finds what the metrics say of each route.
func (s *sampler) read(families []*dto.MetricFamily) map[string]count {
	totals := map[string]count{}
	for _, f := range families {
		if f.GetName() == "relay_projection_lag" && len(f.GetMetric()) == 1 {
			s.lag = int(f.GetMetric()[0].GetGauge().GetValue())
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			name, ok := labels["route"]
			if !ok {
				continue
			}
			h, total := s.routes[name], totals[name]
			if h == nil {
				h = &history{}
				s.routes[name] = h
			}
			switch f.GetName() {
			case "relay_attempts_total":
				total.Classes[classOf(labels["status"])] += uint64(m.GetCounter().GetValue())
			case "relay_attempt_duration_seconds":
				total.Buckets = s.buckets(m.GetHistogram())
			case "relay_in_flight":
				h.inFlight = int(m.GetGauge().GetValue())
			case "relay_breaker_open":
				h.open = m.GetGauge().GetValue() == 1
			}
			totals[name] = total
		}
	}
	return totals
}

// buckets are how many fell between each two bounds; a histogram tells how many fell
// below each.
func (s *sampler) buckets(h *dto.Histogram) []uint64 {
	list := make([]uint64, 0, len(h.GetBucket())+1)
	var below uint64
	s.bounds = s.bounds[:0:0]
	for _, b := range h.GetBucket() {
		s.bounds = append(s.bounds, b.GetUpperBound())
		list = append(list, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	return append(list, h.GetSampleCount()-below)
}

func classOf(status string) int {
	if len(status) == 3 && status[1:] == "xx" && status[0] >= '1' && status[0] <= '5' {
		return int(status[0] - '0')
	}
	return NoAnswer
}

// difference is what was counted since before; a counter that began anew counts from 0.
func difference(now, before count) count {
	out := count{Classes: now.Classes, Buckets: slices.Clone(now.Buckets)}
	for i, n := range before.Classes {
		out.Classes[i] -= min(n, out.Classes[i])
	}
	for i, n := range before.Buckets[:min(len(before.Buckets), len(out.Buckets))] {
		out.Buckets[i] -= min(n, out.Buckets[i])
	}
	return out
}

// report is of the routes on which anything happens.
func (s *sampler) report() map[string]route {
	out := map[string]route{}
	for name, h := range s.routes {
		r := route{InFlight: h.inFlight, Open: h.open}
		for _, one := range h.recent {
			r.Last.add(one, true)
		}
		for slot, of := range h.minuteOf {
			ago := s.minute - of
			if ago < minutes && h.minutes[slot].attempts() > 0 {
				r.Hour = append(r.Hour, hour{int(ago), h.minutes[slot]})
			}
		}
		if r.InFlight > 0 || r.Open || len(r.Hour) > 0 {
			out[name] = r
		}
	}
	return out
}

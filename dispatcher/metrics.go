package dispatcher

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"relay/dlqstore"
	"relay/internal/webhook"
)

// metrics are the families of design's contract; every label value is a route's name
// or a word of a closed list.
type metrics struct {
	attempts    *prometheus.CounterVec
	deliveries  *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	latency     *prometheus.HistogramVec
	inFlight    *prometheus.GaugeVec
	deadLetters *prometheus.CounterVec
	pending     *prometheus.GaugeVec
	ackPending  *prometheus.GaugeVec
	breakerOpen *prometheus.GaugeVec
	badRetry    *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	takenAway   *prometheus.CounterVec
	badFilter   *prometheus.CounterVec
}

// newMetrics registers the families. inHand tells the bytes in hand over all routes.
func newMetrics(reg prometheus.Registerer, inHand func() int64) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"route"})
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"route"})
	}
	m := &metrics{
		attempts:    counter("relay_attempts_total", "HTTP requests made, by status class or, without an answer, error class.", "route", "status"),
		deliveries:  counter("relay_deliveries_total", "Deliveries that ended: ack delivered, term dead letter, drop by a status rule, filtered by the route's filter.", "route", "outcome"),
		duration:    histogram("relay_attempt_duration_seconds", "Time of one HTTP request, to the answer's headers and the part of its body that is read.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}),
		latency:     histogram("relay_delivery_latency_seconds", "Time from a message's storing in its stream to its delivery.", []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300, 3600, 21600, 86400}),
		inFlight:    gauge("relay_in_flight", "Messages in hand in this process: waiting for their turn, under way or being settled."),
		deadLetters: counter("relay_dead_letters_total", "Dead letters published, by reason.", "route", "reason"),
		pending:     gauge("relay_consumer_pending", "Messages that the route's consumer has yet to deliver for the first time."),
		ackPending:  gauge("relay_consumer_ack_pending", "Messages delivered to some relay process and not settled, those that wait for a retry among them."),
		breakerOpen: gauge("relay_breaker_open", "1 while the route's circuit breaker is open in this process."),
		badRetry:    counter("relay_bad_retry_after_total", "Answers whose Retry-After means nothing and was ignored.", "route"),
		dropped:     counter("relay_dropped_headers_total", "Headers of messages that the route forwards and HTTP cannot carry; they were left out.", "route"),
		takenAway:   counter("relay_messages_taken_total", "Messages that others took from relay's consumers: max_deliver, term, or removal from the stream before they were settled.", "route", "by"),
		badFilter:   counter("relay_filter_errors_total", "Messages for which the route's filter could not be worked out, or not within its bounds; they are dead letters.", "route"),
	}
	all := []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "relay_in_flight_bytes", Help: "Size of the messages in hand in this process, over all routes.",
	}, func() float64 { return float64(inHand()) })}
	for _, f := range m.families() {
		all = append(all, f)
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the dispatcher's metrics: %w", err)
		}
	}
	return m, nil
}

// family is a metric with a label route.
type family interface {
	prometheus.Collector
	DeletePartialMatch(labels prometheus.Labels) int
}

func (m *metrics) families() []family {
	return []family{
		m.attempts, m.deliveries, m.duration, m.latency, m.inFlight, m.deadLetters, m.pending, m.ackPending, m.breakerOpen,
		m.badRetry, m.dropped, m.takenAway, m.badFilter,
	}
}

// forget drops the figures of a route that has gone.
func (m *metrics) forget(route string) {
	for _, f := range m.families() {
		f.DeletePartialMatch(prometheus.Labels{"route": route})
	}
}

// routeMetrics are the children of one route, looked up once and not a message.
type routeMetrics struct {
	all        *metrics
	route      string
	byClass    [6]prometheus.Counter // index: the status's first digit; 0: none of 1 to 5
	deliveries map[string]prometheus.Counter
	duration   prometheus.Observer
	latency    prometheus.Observer
	inFlight   prometheus.Gauge
	badRetry   prometheus.Counter
	dropped    prometheus.Counter
	badFilter  prometheus.Counter
}

// Values of the label outcome beside the verdicts.
const outcomeFiltered = "filtered"

func (m *metrics) of(route string) routeMetrics {
	rm := routeMetrics{
		all: m, route: route,
		duration: m.duration.WithLabelValues(route), latency: m.latency.WithLabelValues(route),
		inFlight: m.inFlight.WithLabelValues(route), deliveries: map[string]prometheus.Counter{},
		badRetry: m.badRetry.WithLabelValues(route), dropped: m.dropped.WithLabelValues(route),
		badFilter: m.badFilter.WithLabelValues(route),
	}
	for i, class := range []string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		rm.byClass[i] = m.attempts.WithLabelValues(route, class)
	}
	for _, outcome := range []string{"ack", "term", "drop", outcomeFiltered} {
		rm.deliveries[outcome] = m.deliveries.WithLabelValues(route, outcome)
	}
	m.breakerOpen.WithLabelValues(route).Set(0)
	return rm
}

func (rm *routeMetrics) attempt(a webhook.Answer, out Outcome) {
	rm.duration.Observe(a.Duration.Seconds())
	if out.BadRetryAfter {
		rm.badRetry.Inc()
	}
	if a.DroppedHeaders > 0 {
		rm.dropped.Add(float64(a.DroppedHeaders))
	}
	if a.Err != nil {
		rm.all.attempts.WithLabelValues(rm.route, string(a.Err.Class)).Inc()
		return
	}
	class := a.Status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	rm.byClass[class].Inc()
}

func (rm *routeMetrics) dead(reason dlqstore.Reason) {
	rm.all.deadLetters.WithLabelValues(rm.route, string(reason)).Inc()
}

func (rm *routeMetrics) taken(by string) {
	rm.all.takenAway.WithLabelValues(rm.route, by).Inc()
}

func (rm *routeMetrics) breaker(open bool) {
	v := 0.0
	if open {
		v = 1
	}
	rm.all.breakerOpen.WithLabelValues(rm.route).Set(v)
}

func (rm *routeMetrics) consumer(pending uint64, ackPending int) {
	rm.all.pending.WithLabelValues(rm.route).Set(float64(pending))
	rm.all.ackPending.WithLabelValues(rm.route).Set(float64(ackPending))
}

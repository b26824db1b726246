package routes

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// timeoutMargin is what lies between the end of an attempt and the end of ack_wait:
// time to settle, before the server gives the message to somebody else.
const timeoutMargin = 5 * time.Second

// Streams and subjects of relay itself.
const (
	attemptsStream   = "RELAY_ATTEMPTS"
	replayStream     = "RELAY_REPLAY"
	ledgerStream     = "RELAY_LEDGER"
	advisoriesStream = "RELAY_ADVISORIES"
)

// place finds a value of a part to point at: the one written under the keys, or what
// is around it. The path of problems is set to the keys.
func (c *checker) place(p part, keys ...string) *node {
	c.d.prefix, c.d.path = p.prefix, keys
	n := p.n
	for _, key := range keys {
		below := n.get(key)
		if below.null() {
			return n
		}
		n = below
	}
	return n
}

// item is place for a value of a list.
func (c *checker) item(p part, key string, i int) *node {
	return c.place(p, key, "["+strconv.Itoa(i)+"]").items[i]
}

// checkRoute looks at what the keys of one route say together, as far as each of them
// is right by itself. own is the route without the defaults under it.
func (c *checker) checkRoute(p part, own *node, r *Route) {
	c.checkTimes(p, r)
	c.checkConsumer(p, r)
	c.checkFilters(p, r)
	c.checkWebhook(p, r)
	c.checkStatus(p, r)
	if r.Order == OrderStrict && c.d.wrong.none("concurrency") {
		if own.get("concurrency") != nil && r.Concurrency > 1 {
			c.d.problem(c.place(p, "concurrency"), codeConflict, "order: strict delivers one message at a time, got concurrency %d; remove one of the two", r.Concurrency)
		}
		r.Concurrency = 1
	}
	if c.d.wrong.none("concurrency", "consumer.max_ack_pending") && r.Concurrency > r.Consumer.MaxAckPending {
		c.d.problem(c.place(p, "consumer", "max_ack_pending"), codeConflict, "max_ack_pending is at least concurrency (%d), got %d", r.Concurrency, r.Consumer.MaxAckPending)
	}
}

func (c *checker) checkTimes(p part, r *Route) {
	if c.d.wrong.none("webhook.timeout", "consumer.ack_wait") && r.Webhook.Timeout+timeoutMargin >= r.Consumer.AckWait {
		keys := []string{"webhook", "timeout"}
		if p.n.at(keys...).null() {
			keys = []string{"consumer", "ack_wait"}
		}
		c.d.problem(c.place(p, keys...), codeConflict,
			"consumer.ack_wait is more than webhook.timeout and a margin of %s, got %s and %s; set consumer.ack_wait: %s",
			formatDuration(timeoutMargin), formatDuration(r.Consumer.AckWait), formatDuration(r.Webhook.Timeout),
			formatDuration(r.Webhook.Timeout+2*timeoutMargin))
	}
	if b := r.Retry.Backoff; c.d.wrong.none("retry.backoff", "retry.schedule") && r.Retry.Schedule == nil && b.Initial > b.Max {
		c.d.problem(c.place(p, "retry", "backoff", "initial"), codeConflict, "backoff.initial is at most backoff.max, got %s and %s", formatDuration(b.Initial), formatDuration(b.Max))
	}
	if !c.d.wrong.none("retry") {
		return
	}
	if horizon := r.Retry.Horizon(); r.Retry.MaxAge > 0 && horizon > r.Retry.MaxAge {
		c.d.warn(c.place(p, "retry", "max_age"), codeHorizon,
			"the delays between %d attempts add up to %s, and retry.max_age ends them after %s; the last attempts are never made",
			r.Retry.MaxAttempts, formatDuration(horizon.Round(time.Second)), formatDuration(r.Retry.MaxAge))
	}
}

func (c *checker) checkConsumer(p part, r *Route) {
	consumer := r.Consumer
	// goesWith records a key that stands without the other that gives it sense.
	goesWith := func(key string, set bool, setting string, chosen bool) {
		by, _, _ := strings.Cut(setting, ":")
		switch {
		case !c.d.wrong.none("consumer."+key, "consumer."+by):
		case set && !chosen:
			c.d.problem(c.place(p, "consumer", key), codeConflict, "%s goes with %s", key, setting)
		case !set && chosen:
			c.d.problem(c.place(p, "consumer", by), codeConflict, "%s needs %s", setting, key)
		}
	}
	goesWith("start_sequence", consumer.StartSequence > 0, "deliver_policy: by_start_sequence", consumer.DeliverPolicy == DeliverByStartSequence)
	goesWith("start_time", !consumer.StartTime.IsZero(), "deliver_policy: by_start_time", consumer.DeliverPolicy == DeliverByStartTime)
	goesWith("deliver_subject", consumer.DeliverSubject != "", "type: push", consumer.Type == Push)
	goesWith("deliver_group", consumer.DeliverGroup != "", "type: push", consumer.Type == Push)
	if consumer.DeliverSubject != "" {
		if owner := c.owner(consumer.DeliverSubject, r); owner != "" {
			c.d.problem(c.place(p, "consumer", "deliver_subject"), codeReserved, "subjects of %s are not delivered to, got %s", owner, quote(consumer.DeliverSubject))
		}
	}
}

// owner names who a subject belongs to, when it is not the file's to use. A filter
// that begins with a wildcard is bounded by its stream, and no stream shares
// subjects with relay's own.
func (c *checker) owner(subject string, r *Route) string {
	if subject[0] == '*' || subject[0] == '>' {
		return ""
	}
	if owner := reservedFor(subject); owner != "" {
		return owner
	}
	for _, prefix := range []string{c.config.DeadLetter.SubjectPrefix, r.DeadLetter.SubjectPrefix} {
		if prefix != "" && Overlap(subject, prefix+".>") {
			return "the dead letters (" + prefix + ".>)"
		}
	}
	return ""
}

func (c *checker) checkFilters(p part, r *Route) {
	for i, filter := range r.FilterSubjects {
		if filter == "" {
			continue
		}
		if owner := c.owner(filter, r); owner != "" {
			c.d.problem(c.item(p, "filter_subjects", i), codeReserved, "subjects of %s are not routed, got %s", owner, quote(filter))
			continue
		}
		for j, other := range r.FilterSubjects[:i] {
			if other != "" && Overlap(filter, other) {
				c.d.problem(c.item(p, "filter_subjects", i), codeOverlap, "the filters of one route match different subjects, got %s and %s at %s",
					quote(filter), quote(other), p.n.get("filter_subjects").items[j].pos())
				break
			}
		}
	}
}

func (c *checker) checkWebhook(p part, r *Route) {
	w := r.Webhook
	if c.d.wrong.none("webhook.url", "webhook.egress") && w.Egress.Mode == EgressStrict && isPrivate(w.URL, w.Egress.Allow) {
		c.d.problem(c.place(p, "webhook", "url"), codeConflict, "egress: strict allows public addresses only; name the network in webhook.egress.allow, or write egress: internal")
	}
	if c.d.wrong.none("webhook.tls") && (w.TLS.CertFile == "") != (w.TLS.KeyFile == "") {
		c.d.problem(c.place(p, "webhook", "tls"), codeConflict, "cert_file and key_file go together")
	}
	if w.CloudEvents == CloudEventsBinary {
		for _, header := range p.n.at("webhook", "headers").all() {
			if strings.HasPrefix(strings.ToLower(header.key.text), "ce-") {
				c.place(p, "webhook", "headers", header.key.text)
				c.d.problem(header.key, codeReserved, "cloudevents: binary sets the ce-* headers, got %s", quote(header.key.text))
			}
		}
	}
}

func (c *checker) checkStatus(p part, r *Route) {
	for i, rule := range r.Status {
		for _, other := range r.Status[:i] {
			if rule.rank() == other.rank() && rule.From <= other.To && other.From <= rule.To {
				statuses := c.place(p, "status")
				c.d.path = []string{"status", rule.Pattern}
				c.d.problem(statuses.pair(rule.Pattern).key, codeOverlap, "two ranges of statuses do not overlap, got %s and %s at %s",
					rule.Pattern, other.Pattern, statuses.pair(other.Pattern).key.pos())
			}
		}
	}
}

// completeRoute sets the defaults that follow from other keys.
func completeRoute(r *Route) {
	if r.Consumer.Durable == "" {
		r.Consumer.Durable = "relay-" + r.Name
	}
	if r.RateLimit.PerSecond > 0 && r.RateLimit.Burst == 0 {
		r.RateLimit.Burst = int(math.Ceil(r.RateLimit.PerSecond))
	}
}

package routes

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// checker looks at what parts say together, once each of them is read.
type checker struct {
	d      *decoder
	config *Config

	streams     map[string]*checkedStream
	inOrder     []*checkedStream
	names       map[string]*node // of routes
	durables    map[string]*node // of consumers, by stream and name
	deadLetters map[string]deadLetterUse
	routes      []checkedRoute
	notifiers   []Route // made for notify
}

type checkedStream struct {
	part
	Stream
	wrong mistakes
}

type checkedRoute struct {
	part
	*Route
	wrong mistakes
}

type deadLetterUse struct {
	part
	DeadLetter
}

func newChecker(d *decoder, c *Config) *checker {
	return &checker{
		d: d, config: c,
		streams:     map[string]*checkedStream{},
		names:       map[string]*node{},
		durables:    map[string]*node{},
		deadLetters: map[string]deadLetterUse{},
	}
}

// stream takes a stream of the file.
func (c *checker) stream(p part, s Stream) {
	c.config.Streams = append(c.config.Streams, s)
	if !c.d.wrong.none("name") {
		return
	}
	if first := c.streams[s.Name]; first != nil {
		c.d.problem(c.place(p, "name"), codeDuplicate, "a stream stands once, got %s again; the first is at %s", quote(s.Name), first.n.get("name").pos())
		c.d.path = nil
		return
	}
	c.streams[s.Name] = &checkedStream{p, s, c.d.wrong}
	c.inOrder = append(c.inOrder, c.streams[s.Name])
}

// route takes a route of the file.
func (c *checker) route(p part, own *node, r Route) {
	if r.Name != "" {
		if first := c.names[r.Name]; first != nil {
			c.d.problem(c.place(p, "name"), codeDuplicate, "a route's name is its own, got %s again; the first is at %s", quote(r.Name), first.pos())
		} else {
			c.names[r.Name] = p.n.get("name")
		}
	}
	completeRoute(&r)
	c.checkRoute(p, own, &r)
	c.d.path = nil
	c.config.Routes = append(c.config.Routes, r)
	c.routes = append(c.routes, checkedRoute{p, &r, c.d.wrong})
}

// together looks at what streams and routes say to one another.
func (c *checker) together() {
	defer func() { c.d.prefix, c.d.path = "", nil }()
	for _, r := range c.routes {
		c.checkDeadLetter(r)
	}
	c.checkStreams()
	for _, s := range c.d.opts.Streams {
		if c.streams[s.Name] == nil {
			c.streams[s.Name] = &checkedStream{Stream: s}
		}
	}
	for _, r := range c.routes {
		c.checkDurable(r)
		c.checkStream(r)
		c.checkNotify(r)
	}
	c.checkWorkQueues()
	c.config.Routes = append(c.config.Routes, c.notifiers...)
}

// checkDeadLetter holds routes that share a dead-letter stream to one idea of it.
func (c *checker) checkDeadLetter(r checkedRoute) {
	if !r.wrong.none("dead_letter") {
		return
	}
	first, found := c.deadLetters[r.DeadLetter.Stream]
	if !found {
		c.deadLetters[r.DeadLetter.Stream] = deadLetterUse{r.part, r.DeadLetter}
		return
	}
	if first.MaxAge != r.DeadLetter.MaxAge {
		n := c.place(r.part, "dead_letter", "max_age")
		c.d.problem(n, codeConflict, "the dead-letter stream %s keeps one max_age, got %s here and %s in %s",
			r.DeadLetter.Stream, formatDuration(r.DeadLetter.MaxAge), formatDuration(first.MaxAge), strings.TrimSuffix(first.prefix, ": "))
	}
}

// ownStream says whose a stream is, when it is not the file's to read or define.
func (c *checker) ownStream(name string) string {
	switch name {
	case attemptsStream, replayStream, ledgerStream, advisoriesStream, EventsStream:
		return "a stream of relay itself"
	}
	if _, ok := c.deadLetters[name]; ok || name == c.config.DeadLetter.Stream {
		return "a dead-letter stream"
	}
	return ""
}

// checkStreams looks for streams that JetStream would refuse beside one another.
func (c *checker) checkStreams() {
	var before []*checkedStream
	for _, s := range c.inOrder {
		if whose := c.ownStream(s.Name); whose != "" {
			c.d.problem(c.place(s.part, "name"), codeReserved, "relay makes its own streams, got %s, %s", quote(s.Name), whose)
			continue
		}
		c.checkStreamSubjects(s, before)
		before = append(before, s)
	}
}

func (c *checker) checkStreamSubjects(s *checkedStream, before []*checkedStream) {
	for i, subject := range s.Subjects {
		if subject == "" {
			continue
		}
		if owner := c.owner(subject, &Route{}); owner != "" {
			c.d.problem(c.item(s.part, "subjects", i), codeReserved, "subjects of %s stay out of other streams, got %s", owner, quote(subject))
			continue
		}
		for _, other := range c.d.opts.Streams {
			if other.Name != s.Name && overlapsAny(subject, other.Subjects) {
				c.d.problem(c.item(s.part, "subjects", i), CodeLive, "a subject is in one stream, got %s, and stream %s on the servers has %s",
					quote(subject), other.Name, strings.Join(other.Subjects, ", "))
			}
		}
		for _, other := range before {
			for j, taken := range other.Subjects {
				if taken != "" && Overlap(subject, taken) {
					c.d.problem(c.item(s.part, "subjects", i), codeOverlap, "a subject is in one stream, got %s and %s of stream %s at %s",
						quote(subject), quote(taken), other.Name, other.n.get("subjects").items[j].pos())
				}
			}
		}
	}
}

func (c *checker) checkDurable(r checkedRoute) {
	if !r.wrong.none("name", "stream", "consumer.durable") {
		return
	}
	key := r.Stream + " " + r.Consumer.Durable
	n := c.place(r.part, "consumer", "durable")
	if first := c.durables[key]; first != nil {
		c.d.problem(n, codeDuplicate, "a consumer belongs to one route, got %s on stream %s again; the first is at %s",
			quote(r.Consumer.Durable), r.Stream, first.pos())
		return
	}
	c.durables[key] = n
}

// checkStream looks at a route and the stream that it reads.
func (c *checker) checkStream(r checkedRoute) {
	if !r.wrong.none("stream") {
		return
	}
	n := c.place(r.part, "stream")
	if whose := c.ownStream(r.Stream); whose != "" {
		c.d.problem(n, codeReserved, "a route reads a stream of messages, got %s, %s", quote(r.Stream), whose)
		return
	}
	stream := c.streams[r.Stream]
	if stream == nil {
		near := nearest(r.Stream, slices.Sorted(maps.Keys(c.streams)))
		switch {
		case c.d.opts.Streams != nil:
			c.d.suggest(n, near, CodeLive, "a stream is under streams:, or on the servers (nats stream add creates it), got %s", quote(r.Stream))
		case near != "":
			c.d.add(n, Problem{Code: codeNearMiss, Warning: true, Suggestion: near,
				Message: "stream " + quote(r.Stream) + " is not under streams:, and a like one is"})
		}
		return
	}
	if r.wrong.none("consumer.deliver_policy") && stream.Retention == RetentionWorkQueue && r.Consumer.DeliverPolicy != DeliverAll {
		c.d.problem(c.place(r.part, "consumer", "deliver_policy"), codeConflict, "a consumer of a work-queue stream has deliver_policy: all, got %s", r.Consumer.DeliverPolicy)
	}
	if r.wrong.none("retry") && stream.MaxAge > 0 && r.Retry.Horizon() > stream.MaxAge && (r.Retry.MaxAge == 0 || r.Retry.MaxAge > stream.MaxAge) {
		c.d.warn(c.place(r.part, "retry", "max_attempts"), codeHorizon,
			"the attempts take up to %s, and stream %s keeps a message for %s; one that it drops before is lost",
			formatDuration(r.Retry.Horizon().Round(time.Second)), r.Stream, formatDuration(stream.MaxAge))
	}
	if !stream.wrong.none("subjects") {
		return
	}
	for i, filter := range r.FilterSubjects {
		if filter != "" && len(stream.Subjects) > 0 && !overlapsAny(filter, stream.Subjects) {
			c.d.suggest(c.item(r.part, "filter_subjects", i), nearestSubject(filter, stream.Subjects), codeSubject, "a filter matches subjects of its stream, got %s; stream %s has %s",
				quote(filter), r.Stream, strings.Join(stream.Subjects, ", "))
		}
	}
}

func overlapsAny(filter string, subjects []string) bool {
	return slices.ContainsFunc(subjects, func(subject string) bool { return subject != "" && Overlap(filter, subject) })
}

// nearestSubject is the filter with its first tokens as one of the subjects has them,
// when that is a slip of the pen away.
func nearestSubject(filter string, subjects []string) string {
	var candidates []string
	tokens := strings.Split(filter, ".")
	for _, subject := range subjects {
		candidate := append([]string(nil), tokens...)
		for i, token := range strings.Split(subject, ".") {
			if i < len(candidate) && token != "*" && token != ">" {
				candidate[i] = token
			}
		}
		if joined := strings.Join(candidate, "."); Overlap(joined, subject) {
			candidates = append(candidates, joined)
		}
	}
	return nearest(filter, candidates)
}

// checkWorkQueues looks for routes that would take messages from one another: a
// work-queue stream has one consumer for each subject.
func (c *checker) checkWorkQueues() {
	for i, r := range c.routes {
		stream := c.streams[r.Stream]
		if !r.Enabled || stream == nil || stream.Retention != RetentionWorkQueue {
			continue
		}
		for _, other := range c.routes[:i] {
			if !other.Enabled || other.Stream != r.Stream {
				continue
			}
			for j, filter := range r.FilterSubjects {
				if filter != "" && overlapsAny(filter, other.FilterSubjects) {
					c.d.problem(c.item(r.part, "filter_subjects", j), codeOverlap,
						"in a work-queue stream a subject has one route, got %s, which %s takes at %s", quote(filter), quote(other.Name), other.n.get("filter_subjects").pos())
				}
			}
		}
	}
}

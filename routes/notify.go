package routes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Event is a change of a route that somebody may want to be told of.
type Event string

// The events.
const (
	BreakerOpen      Event = "breaker_open"       // its receiver is down
	DeadLettersAbove Event = "dead_letters_above" // more open dead letters than it may have
	NewCause         Event = "new_cause"          // a dead letter of a cause that was not seen before
	Recovered        Event = "recovered"          // after breaker_open or dead_letters_above
)

// Notify says who is told of a route's changes: once a change, not once a message, and
// once over all relay processes.
type Notify struct {
	Webhook *Webhook // nil: that of Route
	Route   string   // whose webhook is told; empty: Webhook
	On      []Event  // nil: all of them
	// DeadLettersAbove is how many open dead letters are not worth a word. Default 100.
	DeadLettersAbove int
	// Via is the name of the route that brings the events there: one that relay makes of
	// the file, and lists after the file's own.
	Via string
}

// The stream of events, and what a message of it is for.
const (
	EventsStream        = "RELAY_EVENTS"
	EventsSubjectPrefix = "relay.events." // + route + "." + topic
	// NotifyHeader names the route that brings the event, and is absent when nobody wants it.
	NotifyHeader = "Relay-Notify"
)

// Wants says whether the event is to be told. A nil Notify wants none.
func (n *Notify) Wants(e Event) bool {
	return n != nil && (n.On == nil || slices.Contains(n.On, e))
}

func notifyKind() kind[*Notify] {
	webhook := webhookKind()
	same := *webhook.shape
	same.word, same.json = "mapping, as webhook", is(jsonSchema{Ref: "#/definitions/webhook"})
	webhook.shape = &same
	return pointer(object([][]string{{"webhook", "route"}},
		field("webhook", pointer(webhook), func(n *Notify) **Webhook { return &n.Webhook }, keyDoc{
			doc: "The receiver of the events, with the keys of a route's webhook.",
		}),
		field("route", str("the name of a route"), func(n *Notify) *string { return &n.Route }, keyDoc{
			doc: "A route whose webhook receives the events, in place of webhook.", example: "alerts",
		}),
		field("on", listOf(word(BreakerOpen, DeadLettersAbove, NewCause, Recovered), 1, 4), func(n *Notify) *[]Event { return &n.On }, keyDoc{
			doc: "What is told; all of breaker_open, dead_letters_above, new_cause and recovered when left out.", example: "[breaker_open, recovered]",
		}),
		field("dead_letters_above", integer[int](0, largestCount), func(n *Notify) *int { return &n.DeadLettersAbove }, keyDoc{
			doc: "Open dead letters of the route that are not worth a word.", def: "100",
		}),
	))
}

// checkNotify looks at whom the route tells of its changes.
func (c *checker) checkNotify(r checkedRoute) {
	if r.Notify == nil || !r.wrong.none("notify.webhook", "notify.route") {
		return
	}
	target := r.Notify.Webhook
	if target == nil {
		n := c.place(r.part, "notify", "route")
		if r.Notify.Route == "" {
			c.d.problem(n, codeMissingKey, "notify needs webhook, or route with the name of a route whose webhook is told")
			return
		}
		i := slices.IndexFunc(c.routes, func(other checkedRoute) bool { return other.Name == r.Notify.Route })
		if i < 0 {
			c.d.suggest(n, nearest(r.Notify.Route, slices.Sorted(maps.Keys(c.names))), codeUnknownRoute, "a route of the file, got %s", quote(r.Notify.Route))
			return
		}
		target = &c.routes[i].Webhook
	}
	r.Notify.Via = c.notifier(*target)
}

// notifier is the name of the route that brings events to a receiver: one for all that
// tell the same.
func (c *checker) notifier(to Webhook) string {
	for _, n := range c.notifiers {
		if reflect.DeepEqual(n.Webhook, to) {
			return n.Name
		}
	}
	name := "relay-notify"
	for i := 2; c.names[name] != nil || slices.ContainsFunc(c.notifiers, func(r Route) bool { return r.Name == name }); i++ {
		name = fmt.Sprintf("relay-notify-%d", i)
	}
	d := newDecoder(Options{})
	d.partial = true // every key has relay's default
	r, _ := routeKind().read(d, &node{kind: mapping})
	r.Name, r.Description = name, "Tells "+to.PublicURL()+" of changes of routes"
	r.Stream, r.FilterSubjects = EventsStream, []string{EventsSubjectPrefix + ">"}
	r.Filter = fmt.Sprintf("headers[%q] == %q", NotifyHeader, name)
	r.Webhook, r.DeadLetter = to, c.config.DeadLetter
	r.Consumer.DeliverPolicy = DeliverNew
	r.Consumer.AckWait = max(r.Consumer.AckWait, to.Timeout+2*timeoutMargin)
	completeRoute(&r)
	c.notifiers = append(c.notifiers, r)
	return name
}

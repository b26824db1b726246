package dispatcher

import (
	"slices"

	"relay/dlqstore"
	"relay/routes"
)

// Permissions are the subjects that a NATS user has to be allowed, as a server's
// configuration lists them.
type Permissions struct {
	Publish, Subscribe []string
}

// fleetSubjects are what relay processes speak on among themselves, which they do as
// micro services.
const fleetSubjects = "relay.fleet.>"

// Needs is the least that running the file takes: deliveries, dead letters, replays,
// their projection, pauses, and relay's own look at streams and consumers. What
// --allow-recreate, relay plan --prune and replays to the original subject take beside
// it is not there. Answers come to inbox, as in _INBOX.>.
func Needs(c *routes.Config, inbox string) Permissions {
	p := Permissions{
		// Reading only; over all streams, for a consumer whose route has gone may be on any,
		// and so may one of which an advisory tells.
		Publish: []string{
			"$SYS.REQ.USER.INFO", "$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*",
			"$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.INFO.*.*",
			fleetSubjects,
		},
		Subscribe: []string{inbox, fleetSubjects, "$SRV.>"},
	}
	for _, s := range c.Streams {
		p.Publish = append(p.Publish, makeStream(s.Name)...)
	}
	for _, s := range ownStreams(c, 1) {
		p.Publish = append(p.Publish, makeStream(s.Name)...)
		if s.Name == dlqstore.AttemptsStream || isDeadLetterStream(c, s.Name) {
			p.Publish = slices.Concat(p.Publish, useConsumer(s.Name, dlqstore.ProjectorConsumer), readMessage(s.Name))
		}
	}
	p.Publish = slices.Concat(p.Publish, readMessage(ledgerStream), readMessage(dlqstore.ReplayStream),
		useConsumer(advisoriesStream, advisoriesDurable))
	if tellsSomebody(c) {
		p.Publish = append(p.Publish, routes.EventsSubjectPrefix+"*.*")
		p.Publish = append(p.Publish, readMessage(routes.EventsStream)...)
	}
	for _, r := range c.Routes {
		if !r.Enabled {
			continue
		}
		p.Publish = append(p.Publish, RouteNeeds(r)...)
		if r.Consumer.Type == routes.Push {
			p.Subscribe = append(p.Subscribe, r.Consumer.DeliverSubject)
			p.Publish = append(p.Publish, "$JS.FC."+r.Stream+"."+r.Consumer.Durable+".>") // JetStream's flow control
		}
	}
	for _, list := range []*[]string{&p.Publish, &p.Subscribe} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p
}

// RouteNeeds is what one route takes beside what all have in common.
func RouteNeeds(r routes.Route) []string {
	replay := replayDurable(r.Name)
	return slices.Concat(
		useConsumer(r.Stream, r.Consumer.Durable), useConsumer(dlqstore.ReplayStream, replay), readMessage(r.Stream),
		[]string{
			// JetStream puts the one filter of a consumer into the subject.
			"$JS.API.CONSUMER.CREATE." + dlqstore.ReplayStream + "." + replay + "." + dlqstore.ReplaySubjectPrefix + r.Name,
			"$JS.API.CONSUMER.PAUSE." + r.Stream + "." + r.Consumer.Durable,
			"$JS.API.CONSUMER.PAUSE." + dlqstore.ReplayStream + "." + replay,
			// A reload that fails midway takes back the consumers that it made.
			"$JS.API.CONSUMER.DELETE." + r.Stream + "." + r.Consumer.Durable,
			"$JS.API.CONSUMER.DELETE." + dlqstore.ReplayStream + "." + replay,
			r.DeadLetter.Subject(r.Name, ">"), dlqstore.AttemptsSubjectPrefix + r.Name, dlqstore.ReplaySubjectPrefix + r.Name,
			ledgerSubjectPrefix + r.Name + ".*",
		})
}

func makeStream(name string) []string {
	return []string{"$JS.API.STREAM.CREATE." + name, "$JS.API.STREAM.UPDATE." + name}
}

func useConsumer(stream, durable string) []string {
	consumer := stream + "." + durable
	return []string{"$JS.API.CONSUMER.CREATE." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, "$JS.ACK." + consumer + ".>"}
}

// readMessage is how one message of a stream is read, directly where the stream allows.
func readMessage(stream string) []string {
	return []string{"$JS.API.STREAM.MSG.GET." + stream, "$JS.API.DIRECT.GET." + stream}
}

func isDeadLetterStream(c *routes.Config, name string) bool {
	return slices.ContainsFunc(c.Routes, func(r routes.Route) bool { return r.DeadLetter.Stream == name })
}

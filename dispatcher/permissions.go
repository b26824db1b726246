package dispatcher

import (
	"relay/dlqstore"
	"relay/routes"
)

// PublishSubjects are the subjects that relay publishes to for a route, as its NATS
// user needs the permission for them: a place of a subject that varies stands filled.
func PublishSubjects(r routes.Route) []string {
	subjects := []string{
		"$JS.API.STREAM.LIST", "$JS.API.CONSUMER.LIST." + r.Stream,
		r.DeadLetter.Subject(r.Name, "any"), dlqstore.AttemptsSubjectPrefix + r.Name,
	}
	for _, c := range [][2]string{{r.Stream, r.Consumer.Durable}, {dlqstore.ReplayStream, replayDurable(r.Name)}} {
		stream, consumer := c[0], c[0]+"."+c[1]
		subjects = append(subjects, "$JS.API.STREAM.INFO."+stream, "$JS.API.CONSUMER.INFO."+consumer,
			"$JS.API.CONSUMER.CREATE."+consumer, "$JS.ACK."+consumer+".1.1.1.1.1")
		if r.Consumer.Type == routes.Pull || stream == dlqstore.ReplayStream {
			subjects = append(subjects, "$JS.API.CONSUMER.MSG.NEXT."+consumer)
		}
	}
	return subjects
}

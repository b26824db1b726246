package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/routes"
)

// requestTimeout bounds one request to JetStream's API.
const requestTimeout = 5 * time.Second

// flowHeartbeat is how often an idle push consumer asks again whether it may go on: for so
// long a group stands still whose question went to a process that has died or hangs.
const flowHeartbeat = 2 * time.Second

// Metadata keys of the consumers that relay manages.
const (
	metaRoute = "relay.route"
	// metaStart holds where the consumer began as the file says it. The consumer's own
	// deliver policy differs from it after a recreate that kept the position.
	metaStart = "relay.start"
)

// ensureLive makes the route's consumer what the file says, by the same step that a
// plan shows.
func (r *route) ensureLive(ctx context.Context) error {
	p := r.live.planner()
	if st, ok := declared(p.config, r.cfg.Stream); ok {
		step, err := p.declaredStream(ctx, st)
		if err != nil {
			return err
		}
		if step.Action == Create { // what else differs is for the look at all streams
			if err := step.run(ctx, false); err != nil {
				return err
			}
			p = newPlanner(r.shared.js, p.config) // which sees the stream
		}
	}
	step, err := p.live(ctx, r.cfg, r.position())
	if err != nil {
		return err
	}
	if err := step.run(ctx, r.shared.allowRecreate); err != nil {
		return err
	}
	if step.Action == Update || step.Action == Recreate {
		r.log.Info("consumer changed to what the file says", "route", r.cfg.Name, "consumer", step.Consumer, "changes", fmt.Sprint(step.Changes))
	}
	if stream, err := p.stream(ctx, r.cfg.Stream); err == nil && stream != nil {
		r.sawStream(stream.CachedInfo())
	}
	if step.Action == Leave {
		r.sawConsumer(step.found)
	} else {
		r.poll(ctx) // it was made or changed since it was looked at
	}
	return nil
}

// ensureReplay makes the consumer of the route's replay lane.
func (r *route) ensureReplay(ctx context.Context) error {
	step, err := r.replay.planner().replay(ctx, r.cfg)
	if err != nil {
		return err
	}
	return step.run(ctx, r.shared.allowRecreate)
}

// liveConfig is the consumer that a route asks for. It has no BackOff, which would be
// added to every nak's delay, and no MaxDeliver, which would strand a message whose
// last attempt killed its worker (both measured): relay counts attempts itself.
func liveConfig(r routes.Route) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:        r.Consumer.Durable,
		Description:    r.Description,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        r.Consumer.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  r.Consumer.MaxAckPending,
		DeliverSubject: r.Consumer.DeliverSubject,
		DeliverGroup:   r.Consumer.DeliverGroup,
		FilterSubjects: r.FilterSubjects,
		Metadata:       map[string]string{metaRoute: r.Name, metaStart: start(r.Consumer)},
	}
	if r.Consumer.Type == routes.Push {
		// The server then asks before it sends more than relay may have in hand.
		c.FlowControl, c.IdleHeartbeat = true, flowHeartbeat
	}
	if r.Order == routes.OrderStrict {
		// A message that waits for its retry keeps its place, so one place keeps the
		// stream's order, over all processes.
		c.MaxAckPending = 1
	}
	switch r.Consumer.DeliverPolicy {
	case routes.DeliverNew:
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case routes.DeliverLast:
		c.DeliverPolicy = jetstream.DeliverLastPolicy
	case routes.DeliverLastPerSubject:
		c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case routes.DeliverByStartSequence:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.Consumer.StartSequence
	case routes.DeliverByStartTime:
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Consumer.StartTime
	case routes.DeliverAll:
		c.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return c
}

func replayConfig(r routes.Route) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       replayDurable(r.Name),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       r.Consumer.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: r.Consumer.MaxAckPending,
		FilterSubject: dlqstore.ReplaySubjectPrefix + r.Name,
		Metadata:      map[string]string{metaRoute: r.Name},
	}
}

func replayDurable(route string) string { return "relay-replay-" + route }

// start says where a consumer begins, as metaStart holds it.
func start(c routes.Consumer) string {
	switch c.DeliverPolicy {
	case routes.DeliverByStartSequence:
		return fmt.Sprintf("%s %d", c.DeliverPolicy, c.StartSequence)
	case routes.DeliverByStartTime:
		return fmt.Sprintf("%s %s", c.DeliverPolicy, c.StartTime.UTC().Format(time.RFC3339Nano))
	default:
		return string(c.DeliverPolicy)
	}
}

// position is where a consumer stood on one incarnation of its stream.
type position struct {
	floor         uint64 // up to here everything is settled
	streamCreated time.Time
}

// position is where the live consumer stood when last looked at; nil if it was not.
// A consumer that was deleted behind relay's back begins there again, not where the
// file says a new one begins: else the whole stream would be delivered again.
func (r *route) position() *position {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.positioned {
		return nil
	}
	return &position{r.floor, r.streamCreated}
}

// live is the step for the consumer of a route. known may be nil.
func (p *planner) live(ctx context.Context, r routes.Route, known *position) (Step, error) {
	s := Step{Action: Refuse, Stream: r.Stream, Consumer: r.Consumer.Durable, Route: r.Name, state: StateWaiting}
	stream, err := p.stream(ctx, r.Stream)
	if err != nil {
		return s, err
	}
	if _, ok := declared(p.config, r.Stream); stream == nil && !ok && r.Stream != routes.EventsStream { // which relay makes
		s.Note = fmt.Sprintf(
			"there is no stream %q: list it under streams: for relay to create it, or create it yourself (nats stream add %s)",
			r.Stream, r.Stream)
		return s, nil
	}
	return p.consumer(ctx, s, liveConfig(r), known)
}

// replay is the step for the consumer of a route's replay lane.
func (p *planner) replay(ctx context.Context, r routes.Route) (Step, error) {
	return p.consumer(ctx, Step{Stream: dlqstore.ReplayStream, Consumer: replayDurable(r.Name), Route: r.Name}, replayConfig(r), nil)
}

// consumer completes the step for a consumer whose stream is there, or is created by
// an earlier step.
func (p *planner) consumer(ctx context.Context, s Step, want jetstream.ConsumerConfig, known *position) (Step, error) {
	s.Action, s.Changes = Create, consumerChanges(nil, want)
	s.do = func(ctx context.Context) error { return p.create(ctx, s.Stream, want) }
	stream, err := p.stream(ctx, s.Stream)
	if err != nil || stream == nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	have, err := consumerInfo(ctx, stream, want.Durable)
	switch {
	case err != nil:
		return s, err
	case have == nil:
		return p.createAgain(ctx, s, stream, want, known)
	}
	s.found, s.Changes = have, consumerChanges(&have.Config, want)
	owner := have.Config.Metadata[metaRoute]
	switch {
	case owner == "":
		s.Action, s.state, s.Changes = Refuse, StateMisconfigured, nil
		s.Note = fmt.Sprintf("consumer %q is there and is not managed by relay: give the route another consumer.durable, or delete it (nats consumer rm)", want.Durable)
	case owner != want.Metadata[metaRoute]:
		s.Action, s.state, s.Changes = Refuse, StateMisconfigured, nil
		s.Note = fmt.Sprintf("consumer %q belongs to route %q: give this route another consumer.durable", want.Durable, owner)
	case mustRecreate(have.Config, want):
		s.Action, s.Note = Recreate, recreateNote(stream.CachedInfo().Config.Retention, have)
		s.do = func(ctx context.Context) error { return p.recreate(ctx, stream, have, want) }
	case len(s.Changes) > 0:
		s.Action = Update
		s.do = func(ctx context.Context) error { return p.update(ctx, s.Stream, overlayConsumer(have.Config, want)) }
	case have.Config.Metadata[metaFrom] != "":
		return p.leftover(ctx, s, stream)
	default:
		s.Action = Leave
	}
	return s, nil
}

// mustRecreate says whether the consumer differs in what JetStream cannot change.
func mustRecreate(have, want jetstream.ConsumerConfig) bool {
	return have.Metadata[metaStart] != want.Metadata[metaStart] || have.AckPolicy != want.AckPolicy ||
		(have.DeliverSubject == "") != (want.DeliverSubject == "")
}

// consumerChanges lists what the file says and the consumer does not have, or, when
// there is none, what it will have. BackOff and MaxDeliver have no keys in the file:
// relay's consumers are without them.
func consumerChanges(have *jetstream.ConsumerConfig, want jetstream.ConsumerConfig) []Change {
	from := func(func(c jetstream.ConsumerConfig) string) string { return "" }
	if have != nil {
		from = func(text func(c jetstream.ConsumerConfig) string) string { return text(*have) }
	}
	var d differ
	for _, setting := range []struct {
		name string
		text func(c jetstream.ConsumerConfig) string
	}{
		{"type", func(c jetstream.ConsumerConfig) string {
			if c.DeliverSubject == "" {
				return "pull"
			}
			return "push"
		}},
		{"deliver_subject", func(c jetstream.ConsumerConfig) string { return c.DeliverSubject }},
		{"deliver_group", func(c jetstream.ConsumerConfig) string { return c.DeliverGroup }},
		{"filter_subjects", func(c jetstream.ConsumerConfig) string { return strings.Join(filtersOf(c), ", ") }},
		{"deliver_policy", func(c jetstream.ConsumerConfig) string { return c.Metadata[metaStart] }},
		{"ack_policy", func(c jetstream.ConsumerConfig) string {
			return strings.TrimPrefix(strings.ToLower(c.AckPolicy.String()), "ack")
		}},
		{"ack_wait", func(c jetstream.ConsumerConfig) string { return inWords(c.AckWait) }},
		{"max_ack_pending", func(c jetstream.ConsumerConfig) string { return strconv.Itoa(c.MaxAckPending) }},
		{"description", func(c jetstream.ConsumerConfig) string { return c.Description }},
		{"MaxDeliver", func(c jetstream.ConsumerConfig) string { return strconv.Itoa(c.MaxDeliver) }},
		{"BackOff", func(c jetstream.ConsumerConfig) string {
			if len(c.BackOff) == 0 {
				return ""
			}
			return fmt.Sprint(c.BackOff)
		}},
	} {
		d.setting(setting.name, from(setting.text), setting.text(want))
	}
	return d
}

// filtersOf are the filter subjects in an order of their own: JetStream knows none.
func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return slices.Sorted(slices.Values(c.FilterSubjects))
}

// overlayConsumer puts what the file says and JetStream can change in place into the
// configuration that is there; what else stands in it, a pause for one, stays.
func overlayConsumer(have, want jetstream.ConsumerConfig) jetstream.ConsumerConfig {
	have.Description, have.AckWait, have.MaxAckPending = want.Description, want.AckWait, want.MaxAckPending
	have.FilterSubject, have.FilterSubjects = want.FilterSubject, want.FilterSubjects
	have.DeliverSubject, have.DeliverGroup = want.DeliverSubject, want.DeliverGroup
	have.MaxDeliver, have.BackOff = want.MaxDeliver, nil
	return have
}

func (p *planner) create(ctx context.Context, stream string, c jetstream.ConsumerConfig) (err error) {
	if c.DeliverSubject != "" {
		_, err = p.js.CreatePushConsumer(ctx, stream, c)
	} else {
		_, err = p.js.CreateConsumer(ctx, stream, c)
	}
	return err
}

func (p *planner) update(ctx context.Context, stream string, c jetstream.ConsumerConfig) (err error) {
	if c.DeliverSubject != "" {
		_, err = p.js.UpdatePushConsumer(ctx, stream, c)
	} else {
		_, err = p.js.UpdateConsumer(ctx, stream, c)
	}
	return err
}

func consumerInfo(ctx context.Context, stream jetstream.Stream, name string) (*jetstream.ConsumerInfo, error) {
	subject := "$JS.API.CONSUMER.INFO." + stream.CachedInfo().Config.Name + "." + name
	c, err := stream.Consumer(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		push, err := stream.PushConsumer(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look at consumer %q: %w", name, unanswered(err, subject))
		}
		return push.CachedInfo(), nil
	case err != nil:
		return nil, fmt.Errorf("look at consumer %q: %w", name, unanswered(err, subject))
	}
	return c.CachedInfo(), nil
}

// unanswered says of a request that nobody answered what may be the matter: NATS does not
// tell who asked that the subject is not permitted, but drops the request.
func unanswered(err error, subject string) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("no answer within %s: has JetStream a leader, and may relay's user publish to %s? (%w)", requestTimeout, subject, err)
}

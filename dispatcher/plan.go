package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/routes"
)

// Action is what a step of a plan does.
type Action string

// The actions of a step.
const (
	Leave    Action = "leave"    // it is as the file says
	Create   Action = "create"   // it is not there
	Update   Action = "update"   // in place
	Recreate Action = "recreate" // deleted and created, its position kept
	Refuse   Action = "refuse"   // a person has to decide; Note says between what
)

// Plan is what running a routes file would do to the streams and consumers of a
// server: what run and reload do, step by step.
type Plan struct {
	Steps []Step // streams first, then consumers in the order of the routes
	// Orphans are relay's consumers that no route of the file names. Running the
	// file leaves them alone; Prune removes them.
	Orphans []Orphan
}

// Step is what is done to one stream or consumer.
type Step struct {
	Action   Action
	Stream   string // the stream, or the one that the consumer is on
	Consumer string // empty: the step is about the stream itself
	Route    string // of a consumer
	Changes  []Change
	// Note is what else there is to know: what a recreate does to the position, why
	// something is refused and how to mend it. It may be empty.
	Note string

	state State                   // of the route while the step is refused
	found *jetstream.ConsumerInfo // the consumer as it was looked at; nil: there was none
	do    func(ctx context.Context) error
}

// Change is a setting that differs. From is empty when there was nothing before.
type Change struct {
	Setting  string
	From, To string
}

// NewPlan looks at the streams and consumers of the server and compares them with
// the file. It changes nothing. An error means that the server could not be asked.
func NewPlan(ctx context.Context, js jetstream.JetStream, c *routes.Config) (*Plan, error) {
	p := newPlanner(js, c)
	steps, err := p.streamSteps(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range c.Routes {
		if !r.Enabled {
			continue
		}
		consumers, err := p.consumers(ctx, r)
		if err != nil {
			return nil, err
		}
		steps = append(steps, consumers...)
	}
	orphans, err := findOrphans(ctx, js, c)
	if err != nil {
		return nil, err
	}
	return &Plan{steps, orphans}, nil
}

// planner compares a file with a server. It looks at each stream once. It is safe for
// concurrent use.
type planner struct {
	js     jetstream.JetStream
	config *routes.Config

	mu      sync.Mutex
	streams map[string]func() (jetstream.Stream, error) // the look at a stream, made or under way
}

func newPlanner(js jetstream.JetStream, c *routes.Config) *planner {
	return &planner{js: js, config: c, streams: map[string]func() (jetstream.Stream, error){}}
}

// consumers are the steps for a route: its own consumer and its replay lane's.
func (p *planner) consumers(ctx context.Context, r routes.Route) ([]Step, error) {
	live, err := p.live(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	replay, err := p.replay(ctx, r)
	return []Step{live, replay}, err
}

// stream returns the stream as it was when first looked at, or nil when it was not there.
// An error stays too.
func (p *planner) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	p.mu.Lock()
	look, ok := p.streams[name]
	if !ok {
		look = sync.OnceValues(func() (jetstream.Stream, error) { return lookAtStream(ctx, p.js, name) })
		p.streams[name] = look
	}
	p.mu.Unlock()
	return look()
}

func lookAtStream(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look at stream %q: %w", name, unanswered(err, "$JS.API.STREAM.INFO."+name))
	}
	return stream, nil
}

// obstacle is what keeps a step from being carried out, a *trouble that says how to
// mend it, or nil.
func (s Step) obstacle(allowRecreate bool) error {
	switch {
	case s.Action == Refuse:
		return &trouble{s.state, s.Note}
	case s.Action == Recreate && !allowRecreate:
		return &trouble{StateMisconfigured, fmt.Sprintf(
			"consumer %q must be deleted and created anew (%s): run relay with --allow-recreate, which keeps its position, or put the file back",
			s.Consumer, joinChanges(s.Changes))}
	}
	return nil
}

// run carries a step out, unless there is an obstacle.
func (s Step) run(ctx context.Context, allowRecreate bool) error {
	if err := s.obstacle(allowRecreate); err != nil || s.Action == Leave {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := s.do(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", s.Action, s.Target(), err)
	}
	return nil
}

// Target names what the step is about: stream "ORDERS", or consumer "relay-billing"
// of stream "ORDERS".
func (s Step) Target() string {
	if s.Consumer == "" {
		return fmt.Sprintf("stream %q", s.Stream)
	}
	return fmt.Sprintf("consumer %q of stream %q", s.Consumer, s.Stream)
}

// String is the change in one line: SETTING: FROM → TO.
func (c Change) String() string {
	if c.From == "" {
		return c.Setting + ": " + c.To
	}
	return c.Setting + ": " + c.From + " → " + c.To
}

func joinChanges(changes []Change) string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = c.String()
	}
	return strings.Join(texts, "; ")
}

// differ lists the settings whose texts differ.
type differ []Change

func (d *differ) setting(name, from, to string) {
	if from != to {
		*d = append(*d, Change{name, from, to})
	}
}

// inWords writes a duration without the zeros that time.Duration ends with: 1m, not
// 1m0s.
func inWords(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Orphan is a consumer that relay made and that no route of the file names.
type Orphan struct {
	Route         string // that it was made for
	Stream        string
	Consumer      string
	NumPending    uint64 // messages that it would still deliver
	NumAckPending int    // messages delivered and not settled
}

// namedBy lists the consumers that a file's routes use, by stream and name.
func namedBy(c *routes.Config) map[[2]string]bool {
	named := map[[2]string]bool{}
	for _, r := range c.Routes {
		named[[2]string{r.Stream, r.Consumer.Durable}] = true
		named[[2]string{r.Stream, keeperOf(r.Consumer.Durable)}] = true
		named[[2]string{dlqstore.ReplayStream, replayDurable(r.Name)}] = true
	}
	return named
}

// findOrphans lists them over all streams. A consumer that somebody pulls from is no
// orphan: it is the route of a relay that runs another file.
func findOrphans(ctx context.Context, js jetstream.JetStream, c *routes.Config) ([]Orphan, error) {
	named := namedBy(c)
	var orphans []Orphan
	streams := js.ListStreams(ctx)
	for info := range streams.Info() {
		stream, err := js.Stream(ctx, info.Config.Name)
		if err != nil {
			return nil, fmt.Errorf("look at stream %q: %w", info.Config.Name, err)
		}
		consumers := stream.ListConsumers(ctx)
		for have := range consumers.Info() {
			route := have.Config.Metadata[metaRoute]
			if route == "" || named[[2]string{have.Stream, have.Name}] || have.NumWaiting > 0 || have.PushBound {
				continue
			}
			orphans = append(orphans, Orphan{route, have.Stream, have.Name, have.NumPending, have.NumAckPending})
		}
		if err := consumers.Err(); err != nil {
			return nil, fmt.Errorf("list the consumers of stream %q: %w", info.Config.Name, err)
		}
	}
	if err := streams.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	slices.SortFunc(orphans, func(a, b Orphan) int {
		return strings.Compare(a.Stream+" "+a.Consumer, b.Stream+" "+b.Consumer)
	})
	return orphans, nil
}

// Prune deletes the orphans of a plan. What such a consumer still had to deliver is
// not delivered any more. One that is gone already is no error.
func (p *Plan) Prune(ctx context.Context, js jetstream.JetStream) error {
	for _, o := range p.Orphans {
		if err := js.DeleteConsumer(ctx, o.Stream, o.Consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("delete consumer %q of stream %q: %w", o.Consumer, o.Stream, err)
		}
	}
	return nil
}

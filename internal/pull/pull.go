// Package pull asks a durable JetStream pull consumer for messages, never for more
// than its owner can start on, and tells apart what comes back.
//
// It speaks the pull protocol (NATS ADR-13) over one core subscription instead of
// using the client library's Fetch, Consume or Messages, for three reasons, each
// measured on nats.go 1.55: Consume and Messages stand still for a heartbeat
// time-out under small batches; Fetch makes and drops a subscription a batch; and all
// three take a stored message that has a Status header and no body for a protocol
// message, so that nobody ever sees it. Here what carries a reply subject is a
// message, whatever its headers say.
package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// What ends a session; the owner looks at the consumer and starts another one.
var (
	ErrConsumerGone = errors.New("the consumer is gone")            // deleted, or never there
	ErrNotPull      = errors.New("the consumer is a push consumer") // by somebody's change
	ErrSilent       = errors.New("heartbeats are missing")
	ErrLeader       = errors.New("the consumer's leader changed")
	ErrReconnected  = errors.New("the connection was lost and made again")
	ErrRefused      = errors.New("the server refused a pull request")
)

const (
	expires   = time.Minute      // of one pull request at the server
	heartbeat = 10 * time.Second // the server's sign of life while a request waits
	// briefly replaces expires for a request that holds bytes of the budget's common
	// rest: they must not lie at the server when nothing comes.
	briefly = 2 * time.Second
	// quiet is for how long nothing has to come before a stop takes it that nothing is
	// on its way.
	quiet = 200 * time.Millisecond
	// maxBatch bounds one request; above 128 nothing is gained (measured).
	maxBatch = 128
)

// Options say what to pull and who takes it.
type Options struct {
	Conn     *nats.Conn
	Stream   string
	Consumer string
	// DeliverSubject and DeliverGroup are a push consumer's; both empty: it is a pull
	// consumer.
	DeliverSubject, DeliverGroup string
	// Limit is how many messages may be in hand at once, asked for and not released.
	// It may be changed by SetLimit. A push consumer knows only 0 and more than 0: how
	// many it sends, its MaxAckPending says.
	Limit int
	// Handle takes a message. It must not block: it runs on the goroutine that reads
	// the subscription. Each message handled is given back by one call of Release.
	// After Run's context has ended it is still called for messages that were on
	// their way.
	Handle func(*nats.Msg)
	// Budget bounds the bytes in hand together with other pullers. nil: no bound.
	Budget *Budget
}

// Puller keeps requests at the server so that messages come as fast as they are
// released. Its methods are safe for concurrent use; Run is called by one goroutine.
type Puller struct {
	o    Options
	next string // subject of a pull request

	mu       sync.Mutex
	limit    int
	spare    int // of the limit: messages that only wait in hand
	inHand   int // handled, not released
	asked    int // asked for, not come
	stopping bool
	heard    bool // the server has answered in this session
	inbox    string
	lastSeen time.Time // last sign of life, or the moment that one began to be due
	bytes    bytesHeld
	wake     chan struct{} // the budget has something to give
	question string        // of a push consumer that waits for leave to send on: where the answer goes
}

// Nudge lets a pull consumer look for messages now. After a pause that somebody ends it
// does so only when a request comes or ends (nats-server 2.15.2). This request is too
// small for any message, and nobody listens for its answer.
func Nudge(nc *nats.Conn, stream, consumer string) error {
	return nc.PublishRequest(next(stream, consumer), nc.NewInbox(), []byte(`{"batch":1,"max_bytes":1,"expires":1000000}`))
}

// next is the subject of a pull request.
func next(stream, consumer string) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer
}

// New returns a Puller. It sends nothing before Run.
func New(o Options) *Puller {
	return &Puller{
		o: o, limit: o.Limit, wake: make(chan struct{}, 1),
		next: next(o.Stream, o.Consumer),
	}
}

// SetLimit changes how many messages may be in hand. A lower limit takes back
// nothing that was asked for already.
func (p *Puller) SetLimit(n int) { p.SetLimits(n, 0) }

// SetLimits is SetLimit for an owner who starts on so many messages at once and lets
// up to spare more wait in hand. What waits gives time to ask for the next ones, so
// they are asked for when a quarter of it is left: each request costs the server
// about half of what a message does (measured).
func (p *Puller) SetLimits(start, spare int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit, p.spare = start+spare, spare
	if p.o.DeliverSubject != "" {
		select {
		case p.wake <- struct{}{}:
		default: // it is told already
		}
		return
	}
	p.ask()
}

// Release gives back the place of one handled message.
func (p *Puller) Release(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inHand--
	p.bytesReleased(m.Size())
	if p.o.DeliverSubject != "" {
		p.allow()
		return
	}
	p.ask()
}

// Run pulls until ctx ends, and then returns nil once no message can come any more,
// or until the session breaks, and then returns one of this package's errors. It may
// be called again afterwards.
func (p *Puller) Run(ctx context.Context) error {
	if p.o.DeliverSubject != "" {
		return p.runPush(ctx)
	}
	broken := make(chan error, 1)
	end := func(err error) {
		select {
		case broken <- err:
		default:
		}
	}
	inbox := p.o.Conn.NewInbox()
	unsubscribe, err := p.subscribe(func(cb nats.MsgHandler) (*nats.Subscription, error) {
		return p.o.Conn.Subscribe(inbox, cb)
	}, func(m *nats.Msg) { p.receive(m, inbox, end) })
	if err != nil {
		return err
	}
	connected := p.o.Conn.StatusChanged(nats.CONNECTED)
	defer p.o.Conn.RemoveStatusListener(connected)

	p.begin(inbox)
	err = p.watch(ctx, broken, connected)
	if err == nil {
		p.settleDown()
	}
	p.finish()
	unsubscribe() // requests at the server end with it
	return err
}

func (p *Puller) watch(ctx context.Context, broken <-chan error, connected <-chan nats.Status) error {
	tick := time.NewTicker(heartbeat / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-broken:
			return err
		case <-connected:
			return ErrReconnected
		case <-tick.C:
			if p.silent() {
				return ErrSilent
			}
		case <-p.wake:
			p.mu.Lock()
			p.ask()
			p.mu.Unlock()
		}
	}
}

// settleDown asks for nothing more and waits for what was asked for, as long as it
// keeps coming. The server looks for the subscription when it takes a message for a
// request, and again when it sends it: a message between the two would be lost to the
// end of the subscription, until its AckWait has passed.
func (p *Puller) settleDown() {
	p.mu.Lock()
	p.stopping, p.lastSeen = true, time.Now()
	p.mu.Unlock()
	tick := time.NewTicker(quiet / 20)
	defer tick.Stop()
	for end := time.Now().Add(10 * quiet); time.Now().Before(end); <-tick.C {
		p.mu.Lock()
		settled := p.asked == 0 || time.Since(p.lastSeen) > quiet
		p.mu.Unlock()
		if settled {
			return
		}
	}
}

func (p *Puller) begin(inbox string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox, p.asked, p.stopping, p.heard = inbox, 0, false, false
	p.bytesBegin()
	p.ask()
}

func (p *Puller) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox, p.asked = "", 0
	p.bytesFinish()
}

func (p *Puller) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked > 0 && time.Since(p.lastSeen) > 2*heartbeat+heartbeat/2
}

// Heard says whether the server has answered a request of the session that runs, or of
// the last one.
func (p *Puller) Heard() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

// request is the body of a pull request.
type request struct {
	Batch     int           `json:"batch"`
	MaxBytes  int64         `json:"max_bytes,omitempty"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

// ask sends a request for the places that are free, once there are enough of them to
// be worth one: at least three quarters of the spare ones, and half of all while
// another request is under way. So fast receivers get batches, and slow ones, for whom
// nothing is spare, every place at once. The lock is held.
func (p *Puller) ask() {
	free := p.limit - p.inHand - p.asked
	enough := max(1, p.spare*3/4)
	if p.asked > 0 {
		enough = max(enough, p.limit/2)
	}
	if p.inbox == "" || p.stopping || free < enough {
		p.bytesUnwanted()
		return
	}
	r := request{Batch: min(free, maxBatch), Expires: expires, Heartbeat: heartbeat}
	if !p.bytesReserve(&r) {
		return
	}
	req, err := json.Marshal(r)
	if err != nil {
		return // numbers always marshal
	}
	// A publish fails only on a closed connection, and then the session ends, or
	// while reconnecting with a full buffer, and then it begins anew.
	if p.o.Conn.PublishRequest(p.next, p.inbox, req) != nil {
		p.bytesUnasked(r.MaxBytes)
		return
	}
	if p.asked == 0 {
		p.lastSeen = time.Now()
	}
	p.asked += r.Batch
}

func (p *Puller) receive(m *nats.Msg, inbox string, end func(error)) {
	if m.Reply != "" {
		p.mu.Lock()
		if p.inbox == inbox {
			p.asked = max(0, p.asked-1)
		}
		p.inHand++
		p.lastSeen, p.heard = time.Now(), true
		p.bytesCame(m.Size(), p.inbox == inbox)
		if p.asked == 0 {
			p.ask()
		}
		p.mu.Unlock()
		p.o.Handle(m)
		return
	}
	p.mu.Lock()
	p.lastSeen, p.heard = time.Now(), true
	p.mu.Unlock()
	switch status, text := m.Header.Get("Status"), m.Header.Get("Description"); status {
	case "100": // a heartbeat
	case "404", "408", "409":
		switch text {
		case "Consumer Deleted":
			end(ErrConsumerGone)
			return
		case "Consumer is push based":
			end(ErrNotPull)
			return
		case "Leadership Change", "Server Shutdown":
			end(ErrLeader)
			return
		}
		pending := m.Header.Get("Nats-Pending-Messages")
		n, err := strconv.Atoi(pending)
		if err != nil {
			end(fmt.Errorf("%w: %s %s", ErrRefused, status, text))
			return
		}
		bytes, _ := strconv.ParseInt(m.Header.Get("Nats-Pending-Bytes"), 10, 64) // none without a max_bytes
		p.unask(n, bytes, text == "Message Size Exceeds MaxBytes", inbox)
	case "503":
		end(ErrConsumerGone)
	default:
		end(fmt.Errorf("%w: %s %s", ErrRefused, status, text))
	}
}

// unask takes back what a request that ended did not bring. tooLarge says that it
// ended because the next message is larger than what was left of its max_bytes.
func (p *Puller) unask(n int, bytes int64, tooLarge bool, inbox string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inbox != inbox {
		return
	}
	p.asked = max(0, p.asked-n)
	p.bytesEnded(bytes, tooLarge)
	p.ask()
}

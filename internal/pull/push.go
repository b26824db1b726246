package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// lookEvery is how often a push session asks whether its consumer still stands: the
// server says nothing about one that is gone.
const lookEvery = heartbeat

// The words of JetStream's flow control (NATS ADR-15).
const (
	toMessage     = "$JS.ACK." // how the reply subject of a message begins,
	toQuestion    = "$JS.FC."  // and that of a question
	headerStalled = "Nats-Consumer-Stalled"
	// mostUnasked is what a consumer with flow control sends at most before it needs
	// another answer; it begins with a sixteenth of that (nats-server 2.15).
	mostUnasked = 32 << 20
)

// runPush takes what a push consumer sends, until ctx ends or the consumer is gone.
// The server sends as much as the consumer's MaxAckPending allows, whatever the limit;
// a limit of 0 ends the subscription, and with it the sending, until it is raised. The
// bytes that come are counted in the budget. A consumer with flow control asks before it
// sends more, and has its answer when the budget has room; one without may exceed it.
func (p *Puller) runPush(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var unsubscribe func()
	defer func() {
		if unsubscribe != nil {
			unsubscribe()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bytesUnwanted()
		p.goOn() // for another member of the group
	}()
	for {
		switch wanted := p.wanted(); {
		case wanted && unsubscribe == nil:
			var err error
			if unsubscribe, err = p.subscribePush(); err != nil {
				return err
			}
		case !wanted && unsubscribe != nil:
			unsubscribe()
			unsubscribe = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
			p.mu.Lock()
			p.allow()
			p.mu.Unlock()
		case <-tick.C:
			if err := p.stillPushed(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *Puller) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit > 0
}

func (p *Puller) subscribePush() (unsubscribe func(), err error) {
	return p.subscribe(func(cb nats.MsgHandler) (*nats.Subscription, error) {
		return p.o.Conn.QueueSubscribe(p.o.DeliverSubject, p.o.DeliverGroup, cb)
	}, p.receivePushed)
}

func (p *Puller) receivePushed(m *nats.Msg) {
	p.mu.Lock()
	if strings.HasPrefix(m.Reply, toMessage) {
		p.inHand++
		p.bytesCame(m.Size(), false)
		p.mu.Unlock()
		p.o.Handle(m)
		return
	}
	defer p.mu.Unlock()
	question := m.Reply
	if question == "" {
		question = m.Header.Get(headerStalled) // asked again, in a heartbeat
	}
	if strings.HasPrefix(question, toQuestion) {
		p.question = question
		p.allow()
	}
}

// allow lets the server send on when the budget has room for what it may send then; else
// it is called again when there is. A puller that has nothing in hand always goes on.
// The lock is held.
func (p *Puller) allow() {
	if p.question != "" && p.bytesRoom() {
		p.goOn()
	}
}

// goOn answers the server's question. The lock is held.
func (p *Puller) goOn() {
	if p.question != "" {
		_ = p.o.Conn.Publish(p.question, nil) // it asks again with each heartbeat
		p.question = ""
	}
}

// stillPushed asks for the consumer. No answer is no news: the connection says itself
// when it is back, and the subscription is made again with it.
func (p *Puller) stillPushed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookEvery/2)
	defer cancel()
	m, err := p.o.Conn.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO."+p.o.Stream+"."+p.o.Consumer, nil)
	if err != nil {
		return nil
	}
	var info struct {
		Error *struct {
			Code int `json:"code"`
		} `json:"error"`
		Config struct {
			DeliverSubject string `json:"deliver_subject"`
		} `json:"config"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return fmt.Errorf("read what the server says of the consumer: %w", err)
	}
	switch {
	case info.Error != nil && info.Error.Code == 404:
		return ErrConsumerGone
	case info.Error == nil && info.Config.DeliverSubject != p.o.DeliverSubject:
		return ErrConsumerGone // it is another one, or was changed
	}
	return nil
}

// subscribe subscribes without a bound on what waits in the client. unsubscribe ends
// it: what the server has sent by then is still handed on, unless the connection is
// gone and nothing can come.
func (p *Puller) subscribe(how func(nats.MsgHandler) (*nats.Subscription, error), cb nats.MsgHandler) (unsubscribe func(), err error) {
	sub, err := how(cb)
	if err != nil {
		return nil, fmt.Errorf("subscribe to what consumer %q delivers: %w", p.o.Consumer, err)
	}
	// What comes is bounded by what was asked for, or by MaxAckPending; the library
	// must drop none of it.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("lift the pending limits of %s: %w", sub.Subject, err)
	}
	drained := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(drained) })
	return func() {
		if p.o.Conn.IsConnected() && sub.Drain() == nil {
			<-drained
		} else if uerr := sub.Unsubscribe(); uerr == nil {
			<-drained
		}
	}, nil
}

package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/failpoint"
	"relay/internal/webhook"
	"relay/routes"
)

// delivery is one message bound for one route, in one attempt.
type delivery struct {
	webhook.Message
	lane     *lane
	msg      *nats.Msg
	meta     *nats.MsgMetadata
	replay   int       // number of the replay; 0 on the live lane
	since    time.Time // when this life of the delivery began: max_age counts from here
	seen     time.Time // when JetStream last heard that it is worked on
	filtered bool
	answer   webhook.Answer
	past     past
	disputed bool      // nobody knows how its last delivery ended
	marked   bool      // the ledger says that an attempt began
	began    time.Time // of its request
	sent     bool      // a request was made, or may have been
	dying    *Outcome  // it has died, and its dead letter could not be stored yet
}

// deliver is the way of one message through a route, from its receipt to its
// settling. ctx ends when relay is to take nothing new, work when it must stop.
func (r *route) deliver(ctx, work context.Context, d *delivery) {
	defer d.lane.puller.Release(d.msg)
	out, settled := r.prepare(work, d)
	work, ended := r.shared.tracing.delivery(work, d)
	if !settled {
		out = r.attempt(ctx, work, d)
	}
	if out.Verdict == routes.Term {
		out = r.park(work, d, out)
	}
	r.settle(d, out)
	r.settled(d)
	ended(out)
	if out.Verdict == routes.Nak || out.Verdict == routes.Term {
		r.pace.failed(ctx)
	}
	if d.sent {
		r.backlog.saw(time.Since(d.began), out)
	}
}

// prepare reads what the message is, and knows the outcome of one that is not to be
// sent: its attempts are used up, the route's filter leaves it out, or relay cannot
// make sense of it.
func (r *route) prepare(ctx context.Context, d *delivery) (out Outcome, settled bool) {
	err := d.lane.read(ctx, d)
	if d.ID != "" {
		r.shared.ledger.look(ctx, d)
		d.Attempt = max(1, d.Attempt-d.past.Unsent)
	}
	if err != nil {
		if errors.Is(err, errForeign) {
			return Outcome{Verdict: routes.Drop, Attempt: d.Attempt, Error: err.Error()}, true
		}
		return Outcome{Verdict: routes.Nak, Attempt: d.Attempt, Error: err.Error(), RetryIn: r.delay(d.Attempt)}, true
	}
	if d.dying != nil {
		return *d.dying, true
	}
	if d.past.Open >= poisonAfter {
		return Outcome{
			Verdict: routes.Term, Attempt: d.Attempt - 1, Reason: dlqstore.Poison,
			Error: fmt.Sprintf("its last %d deliveries have no known end: relay died, or was cut off, while it had the message in hand", d.past.Open),
		}, true
	}
	if most := r.cfg.Retry.MaxAttempts; d.Attempt > most {
		return Outcome{
			Verdict: routes.Term, Attempt: most, Reason: dlqstore.Exhausted,
			Error: "the last attempt's outcome is not known: relay stopped, or could not settle it",
		}, true
	}
	if hops := hopsOf(d.Headers); hops > mostHops && d.replay == 0 {
		return Outcome{
			Verdict: routes.Term, Attempt: d.Attempt - 1, Reason: dlqstore.Poison,
			Error: fmt.Sprintf("it comes for the %dth time by its header %s, and %d times are allowed: somebody sends it in a circle", hops, headerHop, mostHops),
		}, true
	}
	if r.filter != nil && d.replay == 0 {
		match, err := r.filter.match(d)
		if err != nil {
			r.metrics.badFilter.Inc()
			return Outcome{Verdict: routes.Term, Attempt: d.Attempt, Reason: dlqstore.Poison, Error: err.Error()}, true
		}
		if !match {
			d.filtered = true
			return Outcome{Verdict: routes.Ack, Attempt: d.Attempt}, true
		}
	}
	return Outcome{}, false
}

// attempt posts the message and says what came of it. While an obstacle on relay's
// own side keeps it from the receiver the message stays in hand and its attempt
// unburnt.
func (r *route) attempt(ctx, work context.Context, d *delivery) Outcome {
	if d.past.Open == poisonAfter-1 {
		// Once more and it is poison: alone, so that it does not answer for another one.
		select {
		case r.shared.suspect <- struct{}{}:
			defer func() { <-r.shared.suspect }()
		case <-ctx.Done():
			<-r.quiet
			return Outcome{Verdict: routes.Nak, Attempt: d.Attempt, Error: "relay is stopping"}
		}
	}
	for {
		leave, err := r.gate.enter(ctx)
		switch {
		case errors.Is(err, errStillDown): // nothing is pulled now, so it does not come back here
			return Outcome{Verdict: routes.Nak, Attempt: d.Attempt, Error: err.Error()}
		case err != nil:
			<-r.quiet // else it would come straight back here
			return Outcome{Verdict: routes.Nak, Attempt: d.Attempt, Error: "relay is stopping"}
		}
		if err := r.shared.ledger.begin(work, d); err != nil {
			r.log.Debug("attempt not marked", "route", r.cfg.Name, "id", d.ID, "err", err)
		}
		d.began = time.Now()
		r.pace.attempted(d.began)
		sending, message, answered := r.shared.tracing.post(work, d)
		d.answer = r.sender.Send(sending, message)
		answered(d.answer)
		failpoint.Hit(failpoint.Answered)
		leave(d.answer)
		r.ahead.saw(d.answer.Duration, r.live.puller)
		out := classify(d.answer, standing{
			attempt: d.Attempt, since: d.since, now: r.shared.clock.now(),
			random:  rand.Float64(), //nolint:gosec // jitter needs no secrecy
			backlog: r.backlog.behind(d.meta.NumPending),
		}, r.cfg)
		r.metrics.attempt(d.answer, out)
		if cutOff(d.answer) {
			<-r.quiet // else it would come straight back here
		}
		d.sent = !heldBack(d.answer)
		if !d.sent { // no request was made, so none is recorded
			switch {
			case out.Verdict != routes.Nak:
				out.Attempt-- // it is too old to wait any longer, and this one was not made
				return out
			case ctx.Err() != nil:
				<-r.quiet
				out.RetryIn = 0
				return out
			}
			r.log.LogAttrs(ctx, slog.LevelWarn, "held back", attrs(nil, d, out)...)
			continue
		}
		if err := r.record(work, d, out); err != nil {
			// The replay's outcome has to be known before its message may go.
			return Outcome{Verdict: routes.Nak, Attempt: d.Attempt, Status: out.Status, Error: err.Error(), RetryIn: r.delay(d.Attempt)}
		}
		return out
	}
}

// heldBack says whether an obstacle on relay's own side kept the attempt from being
// made at all.
func heldBack(a webhook.Answer) bool { return a.Err != nil && a.Err.OurSide() && !cutOff(a) }

// cutOff says whether relay's own stop ended the attempt. It may have reached the
// receiver.
func cutOff(a webhook.Answer) bool { return a.Err != nil && a.Err.Class == webhook.ClassCanceled }

// eventRetries is how often an attempt's event is published again, 250 ms apart, while
// nobody answers for its stream: an election is over by then.
const eventRetries = 40

// record publishes the attempt's event: of every failed attempt, and of the attempt
// that ends a replay, which is how the table learns of it.
func (r *route) record(ctx context.Context, d *delivery, out Outcome) error {
	ends := d.replay > 0 && (out.Verdict == routes.Ack || out.Verdict == routes.Drop)
	if out.Verdict == routes.Ack && !ends {
		return nil
	}
	event, err := dlqstore.Attempt{
		ID: d.ID, Route: r.cfg.Name, Number: d.Attempt, Replay: d.replay, At: time.Now().Add(-d.answer.Duration),
		Status: out.Status, Error: out.Error, Duration: d.answer.Duration,
		ResponseHeaders: responseHeaders(d.answer), Response: d.answer.Body,
		Verdict: string(out.Verdict), Instance: r.shared.instance,
	}.Encode()
	if err != nil {
		return err
	}
	if ends {
		failpoint.Hit(failpoint.Replayed)
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		if _, err := r.shared.js.PublishMsg(ctx, event); err != nil {
			return fmt.Errorf("record the replay's outcome on %s: %w", event.Subject, err)
		}
		return nil
	}
	if _, err := r.shared.js.PublishMsgAsync(event, jetstream.WithRetryAttempts(eventRetries)); err != nil {
		r.log.Warn("attempt not recorded", "route", r.cfg.Name, "err", err)
	}
	return nil
}

// unrecorded takes an attempt's event that no stream has confirmed. One that was on its
// way when the connection ended goes again, with what is sent after the reconnect; that
// it may be there twice means nothing to the projector.
func (s *shared) unrecorded(_ jetstream.JetStream, m *nats.Msg, err error) {
	if errors.Is(err, nats.ErrDisconnected) {
		again := &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}
		if _, err = s.js.PublishMsgAsync(again, jetstream.WithRetryAttempts(eventRetries)); err == nil {
			return
		}
	}
	s.log.Warn("attempt not recorded", "subject", m.Subject, "err", err)
}

// park publishes the dead letter and waits until the stream has it. When that fails
// the message must not be ended: the outcome becomes nak, and when the message comes
// again it is parked again, not sent.
func (r *route) park(ctx context.Context, d *delivery, out Outcome) Outcome {
	ctx, parked := r.shared.tracing.park(ctx)
	err := r.publishDead(ctx, d, out)
	parked(err)
	r.setDeadLetterTrouble(err)
	if err != nil {
		dying := out
		d.dying = &dying
		out.Verdict, out.RetryIn = routes.Nak, r.delay(int(d.meta.NumDelivered)) //nolint:gosec // it fits
		out.Error += "; " + err.Error()
		return out
	}
	failpoint.Hit(failpoint.Parked)
	r.metrics.dead(out.Reason)
	return out
}

// settle tells JetStream the outcome and writes the attempt's line and figures.
func (r *route) settle(d *delivery, out Outcome) {
	var err error
	switch out.Verdict {
	case routes.Ack, routes.Drop:
		err = ack(r.shared.conn, d.msg)
	case routes.Nak:
		if lerr := r.shared.ledger.end(context.Background(), d); lerr != nil {
			r.log.Debug("delivery not noted", "route", r.cfg.Name, "id", d.ID, "err", lerr)
		}
		err = nak(r.shared.conn, d.msg, out.RetryIn)
	case routes.Term:
		err = term(r.shared.conn, d.msg, string(out.Reason))
		failpoint.Hit(failpoint.Termed)
	}
	failpoint.Hit(failpoint.Settled)
	switch {
	case d.filtered:
		r.metrics.deliveries[outcomeFiltered].Inc()
	case out.Verdict != routes.Nak:
		r.metrics.deliveries[string(out.Verdict)].Inc()
	}
	if out.Verdict == routes.Ack && !d.filtered {
		r.metrics.latency.Observe(time.Since(d.since).Seconds())
	}
	if !d.filtered {
		r.count(d, out)
	}
	r.logAttempt(d, out, err)
}

func (r *route) logAttempt(d *delivery, out Outcome, err error) {
	level := slog.LevelInfo
	switch {
	case d.filtered:
		level = slog.LevelDebug
	case err != nil || out.Verdict == routes.Term:
		level = slog.LevelWarn
	}
	if !r.log.Enabled(context.Background(), level) {
		return
	}
	var room [14]slog.Attr
	a := attrs(room[:0], d, out)
	if err != nil {
		a = append(a, slog.String("settle_err", err.Error()))
	}
	r.log.LogAttrs(context.Background(), level, "attempt", a...)
}

// attrs are the keys of an attempt's line; docs/operations.md lists them.
func attrs(a []slog.Attr, d *delivery, out Outcome) []slog.Attr {
	a = append(a,
		slog.String("route", d.lane.route.cfg.Name), slog.String("subject", d.Subject), slog.Uint64("stream_seq", d.Sequence),
		slog.String("id", d.ID), slog.Int("attempt", out.Attempt), slog.Int("status", out.Status),
		slog.Duration("duration", d.answer.Duration), slog.String("outcome", string(out.Verdict)))
	if out.Verdict == routes.Nak {
		a = append(a, slog.Duration("retry_in", out.RetryIn))
	}
	if d.replay > 0 {
		a = append(a, slog.Int("replay", d.replay))
	}
	if out.Reason != "" {
		a = append(a, slog.String("reason", string(out.Reason)))
	}
	if out.Error != "" {
		a = append(a, slog.String("err", out.Error))
	}
	return a
}

func (r *route) delay(attempt int) time.Duration {
	return r.cfg.Retry.Delay(max(1, attempt), rand.Float64()) //nolint:gosec // jitter needs no secrecy
}

// responseHeaders are what is kept of an answer's headers: no cookie, for it may be a
// secret of the receiver's, and no more than fits beside the body.
func responseHeaders(a webhook.Answer) map[string][]string {
	const most = 2 << 10
	kept, size := map[string][]string{}, 0
	for name, values := range a.Header {
		if name == "Set-Cookie" {
			continue
		}
		n := len(name)
		for _, v := range values {
			n += len(v)
		}
		if size+n > most {
			continue
		}
		kept[name], size = values, size+n
	}
	return kept
}

package dispatcher

import (
	"fmt"
	"net/http"
	"time"

	"relay/dlqstore"
	"relay/internal/webhook"
	"relay/routes"
)

// Outcome is what an attempt came to.
type Outcome struct {
	Verdict routes.Verdict
	Attempt int           // counted from 1
	Status  int           // of the answer; 0: there was none
	RetryIn time.Duration // with Nak: when to try again
	Reason  dlqstore.Reason
	// Error says what went wrong, for people: in the log, the dead letter and the
	// page. Empty with Ack.
	Error string
	// BadRetryAfter says that the answer had a Retry-After that means nothing.
	BadRetryAfter bool
}

// standing is what classify knows about a delivery besides the answer.
type standing struct {
	attempt int
	since   time.Time // when max_age began to count
	now     time.Time
	random  float64 // in [0, 1), for the jitter
	// backlog is the delay that leaves room for what waits and was never tried; 0:
	// nothing does.
	backlog time.Duration
}

// classify turns an answer into an outcome. It is pure, and the only place that knows
// which answer means what: a fault of the message dies at once, a fault of the
// endpoint gets time to be mended (docs/receivers.md has the table).
func classify(a webhook.Answer, s standing, p routes.Route) Outcome {
	o := Outcome{Attempt: s.attempt, Status: a.Status}
	if a.Err != nil {
		o.Verdict, o.Error = routes.Nak, a.Err.Error()
		if a.Err.Class == webhook.ClassCanceled {
			return o // relay is stopping: back at once, for another process
		}
	} else {
		o.Verdict = verdict(a, p.Status)
		if o.Verdict != routes.Ack {
			o.Error = answered(a.Status)
		}
	}
	switch o.Verdict {
	case routes.Term:
		switch {
		case aborts(a):
			o.Reason = dlqstore.Aborted
		case a.Status == http.StatusRequestEntityTooLarge, a.Status == http.StatusRequestHeaderFieldsTooLarge:
			o.Reason = dlqstore.Oversize
		default:
			o.Reason = dlqstore.Rejected
		}
	case routes.Nak:
		return retryOrDie(o, a, s, p.Retry)
	case routes.Ack, routes.Drop:
	}
	return o
}

// retryOrDie gives a failed attempt its delay, or its end when no attempt is left or
// the next one would come too late.
func retryOrDie(o Outcome, a webhook.Answer, s standing, p routes.Retry) Outcome {
	o.RetryIn = p.Delay(s.attempt, s.random)
	if !endpointFault(a) {
		o.RetryIn = max(o.RetryIn, behindOthers(s, p))
	}
	if p.RetryAfterMax > 0 && a.Header != nil {
		floor, ok, bad := webhook.RetryAfter(a.Header, s.now)
		o.BadRetryAfter = bad
		if ok {
			o.RetryIn = max(o.RetryIn, min(floor, p.RetryAfterMax))
		}
	}
	switch {
	case a.Err != nil && a.Err.OurSide():
		// The attempt did not reach the receiver and does not count.
		if p.MaxAge > 0 && s.now.Sub(s.since) >= p.MaxAge {
			o.Reason = dlqstore.Expired
			if a.Err.Class == webhook.ClassBlocked {
				o.Reason = dlqstore.Blocked
			}
		}
	case s.attempt >= p.MaxAttempts:
		o.Reason = dlqstore.Exhausted
	case p.MaxAge > 0 && s.now.Add(o.RetryIn).Sub(s.since) > p.MaxAge:
		o.Reason = dlqstore.Expired
	}
	if o.Reason != "" {
		o.Verdict, o.RetryIn = routes.Term, 0
	}
	return o
}

// behindOthers is the delay that lets what waits and was never tried go first, for
// JetStream gives what comes again before what never came: ten thousand messages that
// the receiver has something against would else keep the next one waiting through all
// of their retries (docs/decisions/0014-retries-make-way.md). It stays below the longest
// delay of the backoff, and leaves half of what is left of max_age for the attempt. A
// schedule is kept as it stands.
func behindOthers(s standing, p routes.Retry) time.Duration {
	if len(p.Schedule) > 0 {
		return 0
	}
	most := p.Backoff.Max
	if p.MaxAge > 0 {
		most = min(most, (p.MaxAge-s.now.Sub(s.since))/2)
	}
	delay := float64(s.backlog) * (1 + p.Backoff.Jitter*s.random)
	return time.Duration(min(delay, float64(most)))
}

// verdict is the route's rule for the status, or else the default.
func verdict(a webhook.Answer, rules routes.StatusRules) routes.Verdict {
	if aborts(a) {
		return routes.Term
	}
	if v, ok := rules.Verdict(a.Status); ok {
		return v
	}
	switch s := a.Status; {
	case s >= 200 && s <= 299:
		return routes.Ack
	case s >= 400 && s <= 499 && !mendable(s):
		return routes.Term
	default: // 3xx, which is never followed, 5xx and numbers that mean nothing
		return routes.Nak
	}
}

// mendable says whether a 4xx lies with the endpoint, its credentials or the moment,
// and not with the message (RFC 9110 section 15.5; RFC 4918 for 423 and 424).
func mendable(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusConflict,
		http.StatusMisdirectedRequest, http.StatusLocked, http.StatusFailedDependency, http.StatusTooEarly,
		http.StatusTooManyRequests:
		return true
	default:
		return false
	}
}

// aborts says whether the receiver asked that this message never come again.
func aborts(a webhook.Answer) bool {
	return (a.Status < 200 || a.Status > 299) && a.Header.Get("Webhook-Delivery") == "abort-message"
}

// endpointFault says whether the attempt speaks against the receiver as a whole, and
// so for opening the breaker: no answer, a 5xx or a 429. Any other answer comes from a
// receiver that works, and a message of which it complains must not stop the others.
func endpointFault(a webhook.Answer) bool {
	if a.Err != nil {
		return a.Err.Class != webhook.ClassCanceled
	}
	return a.Status >= 500 || a.Status == http.StatusTooManyRequests
}

func answered(status int) string {
	text := http.StatusText(status)
	if text == "" {
		text = "a status that HTTP does not define"
	}
	return fmt.Sprintf("the receiver answered %d %s", status, text)
}

package dispatcher

import (
	"time"

	"relay/internal/webhook"
	"relay/routes"
)

// Judge says what an answer to the given attempt, counted from 1, comes to on a route,
// for a message stored just now. It changes nothing, and RetryIn is without jitter.
func Judge(a webhook.Answer, attempt int, r routes.Route) Outcome {
	now := time.Now()
	return classify(a, standing{attempt: attempt, since: now, now: now, random: 0.5}, r)
}

// Wants says whether a route's filter lets the message through; without one, all are.
// The error is that of a filter that is no expression, or of one that cannot be
// worked out for this message, which makes it a dead letter.
func Wants(r routes.Route, m webhook.Message) (bool, error) {
	f, err := compileFilter(r.Filter)
	if err != nil || f == nil {
		return err == nil, err
	}
	return f.match(&delivery{Message: m})
}

package dispatcher

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"relay/dlqstore"
	"relay/internal/webhook"
	"relay/routes"
)

func policy() routes.Route {
	return routes.Route{Retry: routes.Retry{
		MaxAttempts: 5, MaxAge: time.Hour, RetryAfterMax: 10 * time.Minute,
		Backoff: routes.Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute, Jitter: 0.2},
	}}
}

func answer(status int, header ...string) webhook.Answer {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return webhook.Answer{Status: status, Header: h}
}

func first() standing {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return standing{attempt: 1, since: now.Add(-time.Second), now: now, random: 0.5}
}

// The table of docs/receivers.md, written out: what is not named here is nak below 400
// and from 500 on, and term between.
func TestClassifyEveryStatus(t *testing.T) {
	nak := map[int]bool{401: true, 402: true, 403: true, 404: true, 405: true, 407: true, 408: true, 409: true,
		421: true, 423: true, 424: true, 425: true, 429: true}
	statuses := []int{99, 600, 999}
	for s := 100; s <= 599; s++ {
		statuses = append(statuses, s)
	}
	for _, s := range statuses {
		want := routes.Nak
		switch {
		case s >= 200 && s <= 299:
			want = routes.Ack
		case s >= 400 && s <= 499 && !nak[s]:
			want = routes.Term
		}
		got := classify(answer(s), first(), policy())
		if got.Verdict != want {
			t.Errorf("%d: got %s, want %s", s, got.Verdict, want)
		}
		reason := dlqstore.Reason("")
		switch {
		case s == 413 || s == 431:
			reason = dlqstore.Oversize
		case got.Verdict == routes.Term:
			reason = dlqstore.Rejected
		}
		if got.Reason != reason {
			t.Errorf("%d: verdict %s with reason %q, want %q", s, got.Verdict, got.Reason, reason)
		}
		if (got.Verdict == routes.Ack) != (got.Error == "") {
			t.Errorf("%d: verdict %s with error %q", s, got.Verdict, got.Error)
		}
		if (got.Verdict == routes.Nak) != (got.RetryIn > 0) {
			t.Errorf("%d: verdict %s, again in %s", s, got.Verdict, got.RetryIn)
		}
	}
}

func TestClassify(t *testing.T) {
	with := func(change func(*standing)) standing { s := first(); change(&s); return s }
	rules := func(rules ...routes.StatusRule) routes.Route { p := policy(); p.Status = rules; return p }
	noAnswer := func(c webhook.Class) webhook.Answer {
		return webhook.Answer{Err: &webhook.Error{Class: c, Err: errors.New("x")}}
	}
	for name, tt := range map[string]struct {
		answer   webhook.Answer
		standing standing
		policy   routes.Route
		verdict  routes.Verdict
		reason   dlqstore.Reason
		retryIn  time.Duration // 0: not looked at
	}{
		"first delay":            {answer(500), first(), policy(), routes.Nak, "", time.Second},
		"third delay":            {answer(500), with(func(s *standing) { s.attempt = 3 }), policy(), routes.Nak, "", 4 * time.Second},
		"last attempt":           {answer(500), with(func(s *standing) { s.attempt = 5 }), policy(), routes.Term, dlqstore.Exhausted, 0},
		"above the last":         {answer(500), with(func(s *standing) { s.attempt = 6 }), policy(), routes.Term, dlqstore.Exhausted, 0},
		"last attempt delivered": {answer(200), with(func(s *standing) { s.attempt = 5 }), policy(), routes.Ack, "", 0},
		"next one too late":      {answer(500), with(func(s *standing) { s.since = s.now.Add(-time.Hour) }), policy(), routes.Term, dlqstore.Expired, 0},
		"no age limit": {answer(500), with(func(s *standing) { s.since = s.now.Add(-1000 * time.Hour) }),
			func() routes.Route { p := policy(); p.Retry.MaxAge = 0; return p }(), routes.Nak, "", 0},
		"no answer":           {noAnswer(webhook.ClassRefused), first(), policy(), routes.Nak, "", time.Second},
		"no answer, last":     {noAnswer(webhook.ClassReset), with(func(s *standing) { s.attempt = 5 }), policy(), routes.Term, dlqstore.Exhausted, 0},
		"our side never ends": {noAnswer(webhook.ClassAuth), with(func(s *standing) { s.attempt = 99 }), policy(), routes.Nak, "", 0},
		"our side until too old": {noAnswer(webhook.ClassProxy), with(func(s *standing) { s.since = s.now.Add(-time.Hour) }), policy(),
			routes.Term, dlqstore.Expired, 0},
		"blocked until too old": {noAnswer(webhook.ClassBlocked), with(func(s *standing) { s.since = s.now.Add(-time.Hour) }), policy(),
			routes.Term, dlqstore.Blocked, 0},
		"abort":             {answer(503, "Webhook-Delivery", "abort-message"), first(), policy(), routes.Term, dlqstore.Aborted, 0},
		"abort on success":  {answer(200, "Webhook-Delivery", "abort-message"), first(), policy(), routes.Ack, "", 0},
		"abort beats rules": {answer(503, "Webhook-Delivery", "abort-message"), first(), rules(routes.StatusRule{From: 503, To: 503, Verdict: routes.Nak}), routes.Term, dlqstore.Aborted, 0},
		"rule":              {answer(409), first(), rules(routes.StatusRule{From: 409, To: 409, Verdict: routes.Ack}), routes.Ack, "", 0},
		"rule drops":        {answer(410), first(), rules(routes.StatusRule{From: 410, To: 410, Verdict: routes.Drop}), routes.Drop, "", 0},
		"rule terms":        {answer(500), first(), rules(routes.StatusRule{From: 500, To: 599, Verdict: routes.Term}), routes.Term, dlqstore.Rejected, 0},
		"Retry-After":       {answer(429, "Retry-After", "120"), first(), policy(), routes.Nak, "", 2 * time.Minute},
		"Retry-After below": {answer(429, "Retry-After", "0"), first(), policy(), routes.Nak, "", time.Second},
		"Retry-After above": {answer(429, "Retry-After", "86400"), first(), policy(), routes.Nak, "", 10 * time.Minute},
		"Retry-After bad":   {answer(429, "Retry-After", "soon"), first(), policy(), routes.Nak, "", time.Second},
		"others wait":       {answer(409), with(func(s *standing) { s.backlog, s.random = 10*time.Second, 0 }), policy(), routes.Nak, "", 10 * time.Second},
		"others wait long":  {answer(409), with(func(s *standing) { s.backlog = time.Hour }), policy(), routes.Nak, "", time.Minute},
		"others wait, too old soon": {answer(409), with(func(s *standing) { s.backlog, s.since = time.Minute, s.now.Add(-time.Hour+20*time.Second) }), policy(),
			routes.Nak, "", 10 * time.Second},
		"others wait, scheduled": {answer(409), with(func(s *standing) { s.backlog = time.Minute }),
			func() routes.Route { p := policy(); p.Retry.Schedule = []time.Duration{5 * time.Second}; return p }(), routes.Nak, "", 5 * time.Second},
		"others wait, the endpoint's fault": {answer(503), with(func(s *standing) { s.backlog = time.Minute }), policy(), routes.Nak, "", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			got := classify(tt.answer, tt.standing, tt.policy)
			if got.Verdict != tt.verdict || got.Reason != tt.reason {
				t.Errorf("got %s %q, want %s %q", got.Verdict, got.Reason, tt.verdict, tt.reason)
			}
			if tt.retryIn != 0 && got.RetryIn != tt.retryIn {
				t.Errorf("again in %s, want %s", got.RetryIn, tt.retryIn)
			}
		})
	}
	if got := classify(answer(429, "Retry-After", "soon"), first(), policy()); !got.BadRetryAfter {
		t.Error("a Retry-After that means nothing is not noted")
	}
	if got := classify(noAnswer(webhook.ClassCanceled), first(), policy()); got.Verdict != routes.Nak || got.RetryIn != 0 {
		t.Errorf("an attempt that relay cut off: got %s in %s, want nak at once", got.Verdict, got.RetryIn)
	}
}

// No delay is above what the file allows, none is below what the receiver asked for.
func TestDelayBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policy()
		p.Retry.MaxAge, p.Retry.MaxAttempts = 0, 1_000
		p.Retry.Backoff.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		s := first()
		s.attempt = rapid.IntRange(1, 999).Draw(t, "attempt")
		s.random = rapid.Float64Range(0, 0.999).Draw(t, "random")
		s.backlog = time.Duration(rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "backlog"))
		after := rapid.IntRange(0, 100_000).Draw(t, "after")
		got := classify(answer(rapid.SampledFrom([]int{409, 503}).Draw(t, "status")), s, p)
		if got.RetryIn > p.Retry.Backoff.Max || got.RetryIn < 0 {
			t.Fatalf("delay %s, want at most %s", got.RetryIn, p.Retry.Backoff.Max)
		}
		got = classify(answer(503, "Retry-After", strconv.Itoa(after)), s, p)
		floor := min(time.Duration(after)*time.Second, p.Retry.RetryAfterMax)
		if got.RetryIn < floor || got.RetryIn > max(floor, p.Retry.Backoff.Max) {
			t.Fatalf("delay %s, want from %s to %s", got.RetryIn, floor, max(floor, p.Retry.Backoff.Max))
		}
	})
}

package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"relay/routes"
)

// Runtime is the routes as they run. Its methods are safe for concurrent use.
type Runtime interface {
	// Routes returns the routes in file order, as they stood a moment ago. It does
	// not wait for NATS.
	Routes() []RouteStatus
	// Pause stops deliveries of a route until Resume, in every relay process. When it
	// returns nil, Routes shows it.
	Pause(ctx context.Context, name string) error
	// Resume ends a pause.
	Resume(ctx context.Context, name string) error
}

// ConfigStatus tells which routes file is in force.
type ConfigStatus struct {
	// LoadedAt is when the routes in force were loaded.
	LoadedAt time.Time
	// Error is why the last reload was refused. Empty: it was not.
	Error string
	// FailedAt is when it was refused.
	FailedAt time.Time
}

// RouteState is a word for how a route is doing.
type RouteState string

// The states of a route. Those from StateWaitingForStream on need a person.
const (
	StateStarting              RouteState = "starting"
	StateRunning               RouteState = "running"
	StatePaused                RouteState = "paused"
	StateDisabled              RouteState = "disabled"     // enabled: false in the routes file
	StateBreakerOpen           RouteState = "breaker_open" // the receiver is down, relay waits
	StateWaitingForStream      RouteState = "waiting_for_stream"
	StateMisconfigured         RouteState = "misconfigured"
	StateDeadLetterUnavailable RouteState = "dead_letter_unavailable" // the dead-letter stream takes nothing
	StateOrphan                RouteState = "orphan"                  // there is only its consumer left
	StateRecovering            RouteState = "recovering"              // JetStream did not do what was asked; relay tries again
)

// RouteStatus is a route and how it is doing. Its JSON is that of GET /api/v1/routes.
type RouteStatus struct {
	Name           string     `json:"name"`
	Description    string     `json:"description"`
	Stream         string     `json:"stream"`
	FilterSubjects []string   `json:"filter_subjects"`
	URL            string     `json:"url"` // without credentials and query
	Enabled        bool       `json:"enabled"`
	State          RouteState `json:"state"`
	StateReason    string     `json:"state_reason"` // empty while running

	// What the consumer says; zeros while there is none.
	Consumer       string `json:"consumer"`
	NumPending     uint64 `json:"num_pending"`     // not delivered yet
	NumWaiting     int    `json:"num_waiting"`     // pull requests that wait for messages
	NumAckPending  int    `json:"num_ack_pending"` // delivered, not settled
	MaxAckPending  int    `json:"max_ack_pending"`
	NumRedelivered int    `json:"num_redelivered"` // of those not settled, the ones delivered more than once

	// OldestPendingAt is when the oldest message was stored that is not settled. Zero:
	// there is none, or it is not known.
	OldestPendingAt time.Time `json:"oldest_pending_at,omitzero"`

	// What this process did since it started.
	InFlight    int       `json:"in_flight"` // messages in hand
	Delivered   uint64    `json:"delivered"`
	Failed      uint64    `json:"failed"` // attempts that failed
	LastError   string    `json:"last_error"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`

	// Settings are the route's other settings for the page, secrets left out.
	Settings []Setting `json:"-"`
}

// Setting is a line of a route's settings.
type Setting struct {
	Name, Value string
}

// NewRouteStatus fills a RouteStatus with what the routes file says of the route, no
// secret among it, and the state StateStarting, or StateDisabled. What the runtime
// knows is for the caller to fill in.
func NewRouteStatus(r routes.Route) RouteStatus {
	state := StateStarting
	if !r.Enabled {
		state = StateDisabled
	}
	return RouteStatus{
		Name: r.Name, Description: r.Description, Stream: r.Stream, FilterSubjects: r.FilterSubjects,
		URL: r.Webhook.PublicURL(), Enabled: r.Enabled, State: state,
		Consumer: r.Consumer.Durable, MaxAckPending: r.Consumer.MaxAckPending, Settings: settingsOf(r),
	}
}

// settingsOf names kinds and counts of secrets and headers, never values: a header's
// value may have come from the environment.
func settingsOf(r routes.Route) []Setting {
	list := []Setting{
		{"Consumer type", string(r.Consumer.Type)},
		{"Deliver policy", string(r.Consumer.DeliverPolicy)},
		{"Ack wait", duration(r.Consumer.AckWait)},
		{"Timeout", duration(r.Webhook.Timeout)},
		{"Concurrency", strconv.Itoa(r.Concurrency)},
		{"Order", string(r.Order)},
		{"Attempts", retryText(r.Retry)},
		{"Delays", delayText(r.Retry)},
		{"Signing", signingText(len(r.Webhook.Signing.Secrets))},
		{"Authentication", authText(r.Webhook.Auth)},
		{"Egress", string(r.Webhook.Egress.Mode)},
		{"Dead-letter stream", r.DeadLetter.Stream},
	}
	if r.RateLimit.PerSecond > 0 {
		list = append(list, Setting{"Rate limit", number(r.RateLimit.PerSecond) + " a second"})
	}
	if n := r.Breaker.ConsecutiveFailures; n > 0 {
		list = append(list, Setting{"Circuit breaker",
			"opens after " + count(n, "failure") + " in a row, for " + duration(r.Breaker.OpenFor)})
	}
	if r.Filter != "" {
		list = append(list, Setting{"Filter", r.Filter})
	}
	if len(r.Status) > 0 {
		rules := make([]string, len(r.Status))
		for i, rule := range r.Status {
			rules[i] = rule.Pattern + " → " + string(rule.Verdict)
		}
		list = append(list, Setting{"Status rules", strings.Join(rules, ", ")})
	}
	return list
}

func retryText(r routes.Retry) string {
	if r.MaxAge == 0 {
		return "at most " + strconv.Itoa(r.MaxAttempts)
	}
	return "at most " + strconv.Itoa(r.MaxAttempts) + ", within " + duration(r.MaxAge)
}

func delayText(r routes.Retry) string {
	if len(r.Schedule) == 0 {
		return duration(r.Backoff.Initial) + ", times " + number(r.Backoff.Multiplier) + " each, at most " + duration(r.Backoff.Max)
	}
	steps := make([]string, len(r.Schedule))
	for i, d := range r.Schedule {
		steps[i] = duration(d)
	}
	return strings.Join(steps, ", ")
}

func signingText(secrets int) string {
	if secrets == 0 {
		return "none"
	}
	return count(secrets, "secret")
}

func authText(a routes.Auth) string {
	switch {
	case a.Bearer != nil:
		return "bearer token"
	case a.Basic != nil:
		return "basic"
	case a.OAuth2 != nil:
		return "OAuth 2 client credentials"
	default:
		return "none"
	}
}

package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// HealthLimits are the limits above which /health calls a consumer unhealthy.
type HealthLimits struct {
	// Pending messages. Defaults to DefaultPending.
	Pending uint64
	// AckPendingShare is the share of max_ack_pending that may be pending. Defaults to
	// DefaultAckPendingShare.
	AckPendingShare float64
	// RedeliveryRate is the share of the messages pending ack that may be on a second
	// or later delivery. Fewer than 100 pending count as 100, so that one message that
	// is retried on a quiet route is no alarm. Defaults to DefaultRedeliveryRate.
	RedeliveryRate float64
}

// The limits of /health when nothing else is said.
const (
	DefaultPending         = 10_000
	DefaultAckPendingShare = 0.8
	DefaultRedeliveryRate  = 0.1
)

// minRedeliverySample is what fewer messages pending ack count as.
const minRedeliverySample = 100

func (l HealthLimits) withDefaults() HealthLimits {
	return HealthLimits{cmp.Or(l.Pending, DefaultPending), cmp.Or(l.AckPendingShare, DefaultAckPendingShare), cmp.Or(l.RedeliveryRate, DefaultRedeliveryRate)}
}

// consumerHealth is an entry of /health.
type consumerHealth struct {
	Name           string `json:"name"`
	Stream         string `json:"stream"`
	NumPending     uint64 `json:"num_pending"`
	NumWaiting     int    `json:"num_waiting"`
	NumAckPending  int    `json:"num_ack_pending"`
	NumRedelivered int    `json:"num_redelivered"`
	Healthy        bool   `json:"healthy"`
	HealthMessage  string `json:"health_message"`
}

// health lists the consumers of the enabled routes; 503 if one is unhealthy.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	list, status := []consumerHealth{}, http.StatusOK
	for _, r := range s.opts.Routes.Routes() {
		if !r.Enabled {
			continue
		}
		wrong := s.limits.check(r)
		message := "OK"
		if len(wrong) > 0 {
			status, message = http.StatusServiceUnavailable, strings.Join(wrong, "; ")
		}
		list = append(list, consumerHealth{
			Name: r.Consumer, Stream: r.Stream, NumPending: r.NumPending, NumWaiting: r.NumWaiting,
			NumAckPending: r.NumAckPending, NumRedelivered: r.NumRedelivered,
			Healthy: len(wrong) == 0, HealthMessage: message,
		})
	}
	writeJSON(w, status, list)
}

// check returns what is wrong with a route's consumer, one text a limit.
func (l HealthLimits) check(r RouteStatus) []string {
	var wrong []string
	switch r.State {
	case StateWaitingForStream, StateMisconfigured, StateDeadLetterUnavailable:
		text := strings.ReplaceAll(string(r.State), "_", " ")
		if r.StateReason != "" {
			text += ": " + r.StateReason
		}
		wrong = append(wrong, text)
	}
	if r.NumPending > l.Pending {
		wrong = append(wrong, fmt.Sprintf("%s messages pending, limit %s", digits(r.NumPending), digits(l.Pending)))
	}
	if share := float64(r.NumAckPending) / float64(max(1, r.MaxAckPending)); r.MaxAckPending > 0 && share > l.AckPendingShare {
		wrong = append(wrong, fmt.Sprintf("%s of at most %s ack pending, limit %s %%",
			digits(r.NumAckPending), digits(r.MaxAckPending), percent(l.AckPendingShare)))
	}
	if rate := float64(r.NumRedelivered) / float64(max(minRedeliverySample, r.NumAckPending)); rate > l.RedeliveryRate {
		wrong = append(wrong, fmt.Sprintf("redelivery rate %s %%, limit %s %%", percent(rate), percent(l.RedeliveryRate)))
	}
	return wrong
}

func percent(share float64) string { return fmt.Sprintf("%.3g", share*100) }

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": s.opts.Version})
}

// check is the state of something that relay depends on.
type check struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

// readyz says whether NATS and the database answer. A routes file that a reload
// refused is told, but the routes in force run: it does not count.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	nats, database := s.checkServices(r.Context())
	checks := map[string]check{"nats": nats, "database": database}
	if s.opts.Config != nil {
		failed := s.opts.Config().Error
		checks["routes_file"] = check{failed == "", failed}
	}
	if s.opts.Auth != nil { // anybody may ask: what is wrong stands on the page and in the log
		for name, c := range checks {
			checks[name] = check{OK: c.OK}
		}
	}
	status, word := http.StatusOK, "ready"
	if !nats.OK || !database.OK {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	writeJSON(w, status, map[string]any{"status": word, "checks": checks})
}

// checkTimeout bounds one check, so that a probe gets an answer from relay and not a
// time-out of its own.
const checkTimeout = 2 * time.Second

func (s *Server) checkServices(ctx context.Context) (nats, database check) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { nats = checkOf(s.opts.NATS(ctx)) })
	both.Go(func() { database = checkOf(s.opts.Store.Ping(ctx)) })
	both.Wait()
	return nats, database
}

func checkOf(err error) check {
	if err == nil {
		return check{OK: true}
	}
	return check{Message: err.Error()}
}

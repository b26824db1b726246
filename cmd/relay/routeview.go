package main

import (
	"relay/admin"
	"relay/dispatcher"
	"relay/internal/fleet"
)

// routeView shows the dispatcher, which pauses and resumes routes, to the admin server,
// which does not know it.
type routeView struct {
	*dispatcher.Dispatcher
	backlog *backlog
}

func (r routeView) Routes() []admin.RouteStatus {
	all := r.Status()
	out := make([]admin.RouteStatus, len(all))
	for i, s := range all {
		v := admin.NewRouteStatus(s.Route)
		v.State, v.StateReason = admin.RouteState(s.State), s.Reason
		v.NumPending, v.NumWaiting, v.NumAckPending, v.NumRedelivered = s.NumPending, s.NumWaiting, s.NumAckPending, s.NumRedelivered
		v.InFlight, v.Delivered, v.Failed = s.InFlight, s.Delivered, s.Failed
		v.LastError, v.LastErrorAt = s.LastError, s.LastErrorAt
		v.OldestPendingAt = r.backlog.oldest(s)
		out[i] = v
	}
	return out
}

// attempts shows what the dispatcher remembers of its attempts to the other processes.
type attempts struct{ d *dispatcher.Dispatcher }

func (a attempts) Attempts(route string) []fleet.Attempt {
	all := a.d.Recent(route)
	out := make([]fleet.Attempt, len(all))
	for i, one := range all {
		out[i] = fleet.Attempt{
			At: one.At, ID: one.ID, Subject: one.Subject, Number: one.Attempt, Status: one.Status, Error: one.Error,
			Duration: one.Duration, Delivered: one.Delivered,
		}
	}
	return out
}

func (a attempts) Failures() map[string]fleet.Failure {
	out := map[string]fleet.Failure{}
	for _, s := range a.d.Status() {
		if !s.LastErrorAt.IsZero() {
			out[s.Route.Name] = fleet.Failure{Error: s.LastError, At: s.LastErrorAt}
		}
	}
	return out
}

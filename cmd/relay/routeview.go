package main

import (
	"context"

	"relay/admin"
	"relay/dispatcher"
)

// routeView shows the dispatcher to the admin server, which does not know it.
type routeView struct {
	d       *dispatcher.Dispatcher
	backlog *backlog
}

func (r routeView) Routes() []admin.RouteStatus {
	all := r.d.Status()
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

func (r routeView) Recent(name string) []admin.RecentAttempt {
	all := r.d.Recent(name)
	out := make([]admin.RecentAttempt, len(all))
	for i, a := range all {
		out[i] = admin.RecentAttempt{
			At: a.At, ID: a.ID, Subject: a.Subject, Number: a.Attempt, Status: a.Status, Error: a.Error, Duration: a.Duration, Delivered: a.Delivered,
		}
	}
	return out
}

func (r routeView) Pause(ctx context.Context, name string) error { return r.d.Pause(ctx, name) }

func (r routeView) Resume(ctx context.Context, name string) error { return r.d.Resume(ctx, name) }

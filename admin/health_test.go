package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"relay/admin"
)

func TestHealth(t *testing.T) {
	tests := []struct {
		name   string
		limits admin.HealthLimits
		change func(*admin.RouteStatus)
		want   string // in health_message; empty: healthy
	}{
		{name: "quiet", change: func(*admin.RouteStatus) {}},
		{name: "pending at the limit", change: func(r *admin.RouteStatus) { r.NumPending = 10_000 }},
		{name: "pending above it", change: func(r *admin.RouteStatus) { r.NumPending = 10_001 }, want: "10,001 messages pending"},
		{name: "pending, own limit", limits: admin.HealthLimits{Pending: 5}, change: func(r *admin.RouteStatus) { r.NumPending = 6 }, want: "limit 5"},
		{name: "ack pending at the limit", change: func(r *admin.RouteStatus) { r.NumAckPending, r.MaxAckPending = 80, 100 }},
		{name: "ack pending above it", change: func(r *admin.RouteStatus) { r.NumAckPending, r.MaxAckPending = 81, 100 }, want: "81 of at most 100 ack pending"},
		{name: "ack pending, own limit", limits: admin.HealthLimits{AckPendingShare: 0.5},
			change: func(r *admin.RouteStatus) { r.NumAckPending, r.MaxAckPending = 51, 100 }, want: "limit 50 %"},
		{name: "no limit known", change: func(r *admin.RouteStatus) { r.NumAckPending, r.MaxAckPending = 81, 0 }},
		{name: "a retry on a quiet route", change: func(r *admin.RouteStatus) { r.NumRedelivered, r.NumAckPending = 1, 1 }},
		{name: "a tenth redelivered", change: func(r *admin.RouteStatus) { r.NumRedelivered, r.NumAckPending = 100, 1000 }},
		{name: "more than a tenth", change: func(r *admin.RouteStatus) { r.NumRedelivered, r.NumAckPending = 125, 1000 }, want: "redelivery rate 12.5 %"},
		{name: "many on a quiet route", change: func(r *admin.RouteStatus) { r.NumRedelivered, r.NumAckPending = 11, 11 }, want: "redelivery rate 11 %"},
		{name: "redelivery, own limit", limits: admin.HealthLimits{RedeliveryRate: 0.5},
			change: func(r *admin.RouteStatus) { r.NumRedelivered, r.NumAckPending = 51, 60 }, want: "limit 50 %"},
		{name: "no stream", change: func(r *admin.RouteStatus) {
			r.State, r.StateReason = admin.StateWaitingForStream, "ORDERS does not exist"
		}, want: "waiting for stream: ORDERS does not exist"},
		{name: "paused", change: func(r *admin.RouteStatus) { r.State = admin.StatePaused }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, func(o *admin.Options) { o.HealthLimits = test.limits })
			route := sampleRoutes()[0]
			route.NumPending, route.NumAckPending, route.NumRedelivered = 0, 0, 0
			test.change(&route)
			s.runtime.routes = []admin.RouteStatus{route, sampleRoutes()[2]} // the second is disabled
			got := s.get("/health")
			var list []struct {
				Name    string `json:"name"`
				Stream  string `json:"stream"`
				Healthy bool   `json:"healthy"`
				Message string `json:"health_message"`
			}
			s.decode(got, &list)
			if len(list) != 1 || list[0].Name != "relay-orders-to-billing" || list[0].Stream != "ORDERS" {
				t.Fatalf("got %s", got.body)
			}
			healthy := test.want == ""
			if list[0].Healthy != healthy || (got.status == http.StatusOK) != healthy || !strings.Contains(list[0].Message, test.want) {
				t.Errorf("got %d %s, want %q", got.status, got.body, test.want)
			}
		})
	}
}

func TestHealthOfNothing(t *testing.T) {
	s := start(t, nil)
	s.runtime.routes = nil
	if got := s.get("/health"); got.status != http.StatusOK || got.body != "[]\n" {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestReady(t *testing.T) {
	tests := []struct {
		name         string
		nats         error
		databaseDown bool
		config       admin.ConfigStatus
		wantStatus   int
		wantText     string
	}{
		{name: "all well", wantStatus: http.StatusOK, wantText: `"status":"ready"`},
		{name: "no NATS", nats: errors.New("no servers"), wantStatus: http.StatusServiceUnavailable, wantText: `"nats":{"ok":false,"message":"no servers"}`},
		{name: "no database", databaseDown: true, wantStatus: http.StatusServiceUnavailable, wantText: `"database":{"ok":false`},
		{name: "bad reload", config: admin.ConfigStatus{Error: "unknown key", FailedAt: noon}, wantStatus: http.StatusOK,
			wantText: `"routes_file":{"ok":false,"message":"unknown key"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, func(o *admin.Options) {
				o.NATS = func(context.Context) error { return test.nats }
				o.Config = func() admin.ConfigStatus { return test.config }
			})
			if test.databaseDown {
				s.store.Close()
			}
			got := s.get("/readyz")
			if got.status != test.wantStatus || !strings.Contains(got.body, test.wantText) {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if got := s.get("/healthz"); got.status != http.StatusOK || got.body != `{"status":"ok","version":"1.2.3"}`+"\n" {
				t.Errorf("healthz: got %d %s", got.status, got.body)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "relay_test_total", Help: "For this test."})
	registry.MustRegister(counter)
	counter.Inc()
	s := start(t, func(o *admin.Options) { o.Gatherer = registry })
	if got := s.get("/metrics"); got.status != http.StatusOK || !strings.Contains(got.body, "relay_test_total 1") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if got := start(t, nil).get("/metrics"); got.status != http.StatusNotFound {
		t.Errorf("without a gatherer: got %d", got.status)
	}
}

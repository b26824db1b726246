package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"relay/admin"
	"relay/dlqstore"
	"relay/internal/fleet"
	"relay/routes"
)

// noon is the time at which every test happens.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// runtime runs no routes: it remembers what it is told.
type runtime struct {
	mu     sync.Mutex
	routes []admin.RouteStatus
	broken error // what Pause and Resume return
}

func (f *runtime) Routes() []admin.RouteStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]admin.RouteStatus(nil), f.routes...)
}

// processes are a fleet of two that have been busy for an hour. foreign goes into what
// others may have written.
type processes struct{ foreign string }

func (p processes) Processes() []fleet.Process {
	return []fleet.Process{
		{Instance: "relay-1" + p.foreign, Version: "1.2.3", Since: noon.Add(-50 * time.Hour)},
		{Instance: "relay-2", Version: "1.2.2" + p.foreign, Since: noon.Add(-3 * time.Hour)},
	}
}

func (processes) Lag() int { return 17 }

func (p processes) Attempts(_ context.Context, name string) (list []fleet.Attempt, silent int) {
	if name != "orders-to-billing" {
		return nil, 1
	}
	return []fleet.Attempt{
		{At: noon.Add(-2 * time.Second), ID: "msg_aaaaaaaaaaaaaaaaaaaaaaaaaa", Subject: "orders.created", Number: 3, Error: p.foreign + "timeout_headers: no answer within 15s",
			Duration: 15 * time.Second, Instance: "relay-2" + p.foreign},
		{At: noon.Add(-42 * time.Second), ID: "msg_bbbbbbbbbbbbbbbbbbbbbbbbbb", Subject: p.foreign + "orders.created", Number: 1, Status: 200,
			Duration: 31 * time.Millisecond, Delivered: true, Instance: "relay-1"},
	}, 0
}

func (processes) Figures() map[string]fleet.Figures {
	f := fleet.Figures{Rate: 41.7, Attempts: 30_000, Success: 0.987, P50: 31 * time.Millisecond, P95: 210 * time.Millisecond, InFlight: 16}
	for i := range f.Hour {
		f.Hour[i] = fleet.Minute{Delivered: uint64(2000 + 37*(i%7)), P50: 30 * time.Millisecond, P95: time.Duration(150+20*(i%5)) * time.Millisecond}
		if i > 20 && i < 34 { // the receiver was down
			f.Hour[i] = fleet.Minute{Delivered: 100, Failed: 1400, P50: 4 * time.Second, P95: 15 * time.Second}
		}
		if i == 40 {
			f.Hour[i] = fleet.Minute{}
		}
		f.Classes[2], f.Classes[fleet.NoAnswer] = f.Classes[2]+f.Hour[i].Delivered, f.Classes[0]+f.Hour[i].Failed
	}
	return map[string]fleet.Figures{"orders-to-billing": f, "orders-to-search": {InFlight: 1, BreakersOpen: 2}}
}

func (f *runtime) Pause(_ context.Context, name string) error { return f.set(name, admin.StatePaused) }
func (f *runtime) Resume(_ context.Context, name string) error {
	return f.set(name, admin.StateRunning)
}

func (f *runtime) set(name string, state admin.RouteState) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.routes {
		if f.routes[i].Name == name && f.broken == nil {
			f.routes[i].State = state
		}
	}
	return f.broken
}

type wakes struct {
	mu sync.Mutex
	n  int
}

func (w *wakes) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
}

func (w *wakes) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// surface is an admin server over a store on disk.
type surface struct {
	t       testing.TB
	url     string
	handler http.Handler
	store   dlqstore.Store
	runtime *runtime
	wakes   *wakes
}

// start serves the admin surface over SQLite; change may be nil.
func start(t *testing.T, change func(*admin.Options)) *surface {
	t.Helper()
	return startOn(t, "sqlite:"+filepath.Join(t.TempDir(), "relay.db"), change)
}

func startOn(t testing.TB, database string, change func(*admin.Options)) *surface {
	t.Helper()
	store, err := dlqstore.Open(t.Context(), database, dlqstore.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &surface{t: t, store: store, runtime: &runtime{routes: sampleRoutes()}, wakes: &wakes{}}
	options := admin.Options{
		Store: store, Routes: s.runtime, Replays: s.wakes, Version: "1.2.3", Fleet: processes{},
		NATS:   func(context.Context) error { return nil },
		Now:    func() time.Time { return noon },
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&options)
	}
	server, err := admin.New(options)
	if err != nil {
		t.Fatal(err)
	}
	s.handler = server.Handler()
	web := httptest.NewServer(s.handler)
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

func sampleRoutes() []admin.RouteStatus {
	billing := admin.NewRouteStatus(routes.Route{
		Name: "orders-to-billing", Description: "Invoices for new orders", Enabled: true, Stream: "ORDERS",
		FilterSubjects: []string{"orders.created"},
		Consumer: routes.Consumer{
			Durable: "relay-orders-to-billing", Type: routes.Pull, DeliverPolicy: routes.DeliverAll,
			AckWait: 30 * time.Second, MaxAckPending: 10_000,
		},
		Webhook: routes.Webhook{
			URL: "https://ann:hunter2@billing.example.com/hooks/orders?key=hunter2", Timeout: 15 * time.Second,
			Headers: map[string]string{"X-Api-Key": "hunter2"},
			Signing: routes.Signing{Secrets: []routes.Secret{{Env: "BILLING_WHSEC"}}},
			Auth:    routes.Auth{Bearer: &routes.Secret{Env: "BILLING_TOKEN"}}, Egress: routes.Egress{Mode: routes.EgressInternal},
		},
		Concurrency: 16, Order: routes.OrderNone, Breaker: routes.CircuitBreaker{ConsecutiveFailures: 10, OpenFor: 30 * time.Second},
		Retry: routes.Retry{
			MaxAttempts: 8, MaxAge: 24 * time.Hour,
			Backoff: routes.Backoff{Initial: time.Second, Multiplier: 2, Max: 10 * time.Minute, Jitter: 0.2},
		},
		DeadLetter: routes.DeadLetter{Stream: "RELAY_DLQ"},
	})
	billing.State, billing.NumPending, billing.NumAckPending, billing.InFlight = admin.StateRunning, 1204, 37, 16
	billing.OldestPendingAt = noon.Add(-4 * time.Minute)
	billing.NumRedelivered, billing.Delivered, billing.Failed = 3, 48_210, 311
	billing.LastError, billing.LastErrorAt = "503 Service Unavailable", noon.Add(-42*time.Second)

	search := admin.NewRouteStatus(routes.Route{
		Name: "orders-to-search", Description: "Keep the search index fresh", Enabled: true, Stream: "ORDERS",
		FilterSubjects: []string{"orders.*.updated", "orders.*.deleted"},
		Consumer:       routes.Consumer{Durable: "relay-orders-to-search", Type: routes.Pull, DeliverPolicy: routes.DeliverNew, MaxAckPending: 10_000},
		Webhook:        routes.Webhook{URL: "https://search.internal/hooks/orders", Timeout: 10 * time.Second},
	})
	search.State, search.StateReason, search.NumPending = admin.StateBreakerOpen, "10 failures in a row; next probe in 12 s", 9_310
	search.LastError, search.LastErrorAt = "refused: dial tcp 10.1.4.7:443: connect: connection refused", noon.Add(-3*time.Second)

	audit := admin.NewRouteStatus(routes.Route{
		Name: "audit-log", Enabled: false, Stream: "AUDIT", FilterSubjects: []string{"audit.>"},
		Consumer: routes.Consumer{Durable: "relay-audit-log", MaxAckPending: 10_000},
	})
	return []admin.RouteStatus{billing, search, audit}
}

// dead makes the nth dead letter, the later the higher; change may be nil.
func dead(n int, change func(*dlqstore.DeadLetter)) dlqstore.Record {
	stored := noon.Add(-3 * time.Hour)
	d := dlqstore.DeadLetter{
		Route: "orders-to-billing", State: dlqstore.Dead, Reason: dlqstore.Exhausted,
		OriginalSubject: "orders.created", Payload: fmt.Appendf(nil, `{"order":%d,"total":12.50}`, 9007199254740993+n),
		Headers: map[string][]string{"Event-Type": {"order"}, "Content-Type": {"application/json"}},
		Error:   "the receiver answered 503", Status: 503, RetryCount: 8, ConsumerName: "relay-orders-to-billing",
		Stream: "ORDERS", StreamSequence: uint64(n),
		PublishedAt: stored, FailedAt: noon.Add(-time.Hour + time.Duration(n)*time.Second),
	}
	if change != nil {
		change(&d)
	}
	d.ID = dlqstore.NewID(d.Route, d.Stream, d.StreamSequence, d.PublishedAt)
	return dlqstore.Record{DeadLetter: d}
}

// add puts dead letters into the store and returns their ids.
func (s *surface) add(records ...dlqstore.Record) []string {
	s.t.Helper()
	s.project(dlqstore.Batch{DeadLetters: records})
	ids := make([]string, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	return ids
}

func (s *surface) project(b dlqstore.Batch) {
	s.t.Helper()
	if err := s.store.Project(s.t.Context(), b); err != nil {
		s.t.Fatal(err)
	}
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *surface) get(path string) answer { return s.do(http.MethodGet, path, "", nil) }

func (s *surface) post(path, body string) answer { return s.do(http.MethodPost, path, body, nil) }

func (s *surface) form(path, body string) answer {
	return s.do(http.MethodPost, path, body, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
}

func (s *surface) do(method, path, body string, header http.Header) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// decode reads an answer's JSON into v.
func (s *surface) decode(a answer, v any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		s.t.Fatalf("answer %d is no JSON: %v\n%s", a.status, err, a.body)
	}
}

// code returns the code of an error answer, having checked its shape.
func (s *surface) code(a answer) string {
	s.t.Helper()
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(a.body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil || body.Error.Code == "" || body.Error.Message == "" {
		s.t.Fatalf("answer %d is no error in JSON: %s", a.status, a.body)
	}
	return body.Error.Code
}

func (s *surface) state(id string) dlqstore.State {
	s.t.Helper()
	d, err := s.store.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.State
}

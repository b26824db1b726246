package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"relay/internal/testkit"
)

// traceSink is an OTLP/HTTP receiver.
type traceSink struct {
	mu      sync.Mutex
	spans   []*otlp.Span
	service string
}

func (s *traceSink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var export collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				s.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			s.spans = append(s.spans, scope.Spans...)
		}
	}
}

// find returns the spans of a name, in the order of their beginning.
func (s *traceSink) find(name string) []*otlp.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*otlp.Span
	for _, span := range s.spans {
		if span.Name == name {
			found = append(found, span)
		}
	}
	slices.SortFunc(found, func(a, b *otlp.Span) int { return int(a.StartTimeUnixNano - b.StartTimeUnixNano) })
	return found
}

// The publisher's trace goes on through delivery and request into the receiver's, with
// the steps of the request, the parking and the projection; the last spans are sent at
// the stop.
func TestTraces(t *testing.T) {
	const traceID, publisher = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	sink := &traceSink{}
	listener, err := listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: sink}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")

	h := newHouse(t)
	r := testkit.NewReceiver(t, testkit.Status(http.StatusServiceUnavailable, http.StatusUnprocessableEntity))
	p := h.run(writeRoutes(t, ordersRoute, strings.Replace(r.URL, "127.0.0.1", "localhost", 1)))
	admin := p.admin()
	testkit.Eventually(t, func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK }, "relay to be ready")
	m := &nats.Msg{Subject: "orders.created", Data: []byte("{}"), Header: nats.Header{"TraceParent": {"00-" + traceID + "-" + publisher + "-01"}}}
	if _, err := h.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() bool { return len(deadLetters(t, admin, "")) == 1 }, "the dead letter in the table")
	p.signal(os.Interrupt)
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	deliveries, posts, parks := sink.find("deliver billing"), sink.find("POST"), sink.find("park")
	if len(deliveries) != 2 || len(posts) != 2 || len(parks) != 1 || sink.service != "relay" {
		t.Fatalf("%d deliveries, %d posts, %d parks of service %q, want 2, 2 and 1 of relay", len(deliveries), len(posts), len(parks), sink.service)
	}
	for i, d := range deliveries {
		if hex.EncodeToString(d.TraceId) != traceID || hex.EncodeToString(d.ParentSpanId) != publisher {
			t.Errorf("delivery %d does not go on with the publisher's trace: %v", i, d)
		}
		if string(posts[i].ParentSpanId) != string(d.SpanId) {
			t.Errorf("POST %d is not in its delivery: %v", i, posts[i])
		}
		want := "00-" + traceID + "-" + hex.EncodeToString(posts[i].SpanId) + "-01"
		if got := r.Requests()[i].Header["Traceparent"]; !slices.Equal(got, []string{want}) {
			t.Errorf("request %d has traceparent %q, want %s", i, got, want)
		}
		if d.StartTimeUnixNano > posts[i].StartTimeUnixNano || d.EndTimeUnixNano < posts[i].EndTimeUnixNano {
			t.Errorf("delivery %d is shorter than its POST", i)
		}
	}
	if string(parks[0].ParentSpanId) != string(deliveries[1].SpanId) {
		t.Errorf("park is not in the delivery that died: %v", parks[0])
	}
	var events []string
	for _, e := range posts[0].Events {
		events = append(events, e.Name)
	}
	for _, want := range []string{"dns.start", "dns.done", "connect.start", "connect.done", "connection", "request.written", "first_byte"} {
		if !slices.Contains(events, want) {
			t.Errorf("the first POST has the events %v, not %s", events, want)
		}
	}
	if !slices.ContainsFunc(sink.find("project"), func(s *otlp.Span) bool {
		return len(s.Links) == 1 && hex.EncodeToString(s.Links[0].TraceId) == traceID
	}) {
		t.Errorf("no projection has a link to the trace: %v", sink.find("project"))
	}
}

func TestTracesRefuse(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	code, _, stderr := command(t, "", "run", "--routes", writeRoutes(t, ordersRoute, "http://127.0.0.1:9"), "--embedded", "--data", t.TempDir(),
		"--nats-port", "-1", "--admin", "127.0.0.1:0")
	if code != exitUsage || !strings.Contains(stderr, "OTEL_EXPORTER_OTLP_PROTOCOL") {
		t.Errorf("exit %d, want 2\n%s", code, stderr)
	}
}

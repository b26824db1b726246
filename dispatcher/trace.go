package dispatcher

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http/httptrace"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"relay/internal/webhook"
	"relay/routes"
)

// tracing makes the spans of deliveries: deliver, from the receipt to the settling, and
// in it POST and park. Without a tracer it makes none and costs nothing.
type tracing struct{ tracer trace.Tracer }

// delivery begins the span of a delivery that has been read. The publisher's trace goes
// on in it.
func (t tracing) delivery(ctx context.Context, d *delivery) (context.Context, func(Outcome)) {
	if t.tracer == nil {
		return ctx, func(Outcome) {}
	}
	ctx, span := t.tracer.Start(propagation.TraceContext{}.Extract(ctx, headers(d.Headers)), "deliver "+d.lane.route.cfg.Name,
		trace.WithTimestamp(d.seen), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.destination.name", d.Subject),
			attribute.String("messaging.message.id", d.ID),
			attribute.String("messaging.consumer.group.name", d.lane.consumer),
			attribute.String("relay.route", d.lane.route.cfg.Name),
			attribute.String("relay.stream", d.Stream),
			attribute.Int64("relay.stream_sequence", int64(d.Sequence)), //nolint:gosec // sequences of a stream stay far below the limit
			attribute.Int("relay.attempt", d.Attempt)))
	return ctx, func(out Outcome) {
		span.SetAttributes(attribute.String("relay.outcome", string(out.Verdict)), attribute.String("relay.reason", string(out.Reason)))
		if out.Verdict == routes.Nak || out.Verdict == routes.Term {
			span.SetStatus(codes.Error, out.Error)
		}
		span.End()
	}
}

// post begins the span of one request and reports what happens on its way. The message
// that it returns is the delivery's, with the span's trace for the receiver.
func (t tracing) post(ctx context.Context, d *delivery) (context.Context, *webhook.Message, func(webhook.Answer)) {
	if t.tracer == nil {
		return ctx, &d.Message, func(webhook.Answer) {}
	}
	attributes := []attribute.KeyValue{attribute.String("http.request.method", "POST")}
	if u, err := url.Parse(d.lane.route.cfg.Webhook.URL); err == nil { // its path and query may hold a secret
		attributes = append(attributes, attribute.String("server.address", u.Hostname()), attribute.String("url.scheme", u.Scheme))
	}
	ctx, span := t.tracer.Start(ctx, "POST", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	m := d.Message
	m.Headers = maps.Clone(m.Headers)
	maps.DeleteFunc(m.Headers, func(name string, _ []string) bool { return strings.EqualFold(name, "traceparent") })
	if m.Headers == nil {
		m.Headers = map[string][]string{}
	}
	propagation.TraceContext{}.Inject(ctx, headers(m.Headers))
	if span.IsRecording() {
		ctx = httptrace.WithClientTrace(ctx, onItsWay(span))
	}
	return ctx, &m, func(a webhook.Answer) {
		if a.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		}
		switch {
		case a.Err != nil:
			span.SetAttributes(attribute.String("error.type", string(a.Err.Class)))
			span.SetStatus(codes.Error, a.Err.Error())
		case a.Status >= 400:
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// park begins the span of a dead letter's publishing.
func (t tracing) park(ctx context.Context) (context.Context, func(error)) {
	if t.tracer == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, "park", trace.WithSpanKind(trace.SpanKindProducer))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// onItsWay notes the steps of a request as events of its span.
func onItsWay(span trace.Span) *httptrace.ClientTrace {
	event := func(name string, err error) {
		if err != nil {
			span.AddEvent(name, trace.WithAttributes(attribute.String("error", err.Error())))
			return
		}
		span.AddEvent(name)
	}
	return &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { event("dns.start", nil) },
		DNSDone:              func(i httptrace.DNSDoneInfo) { event("dns.done", i.Err) },
		ConnectStart:         func(_, _ string) { event("connect.start", nil) },
		ConnectDone:          func(_, _ string, err error) { event("connect.done", err) },
		TLSHandshakeStart:    func() { event("tls.start", nil) },
		TLSHandshakeDone:     func(_ tls.ConnectionState, err error) { event("tls.done", err) },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { event("request.written", i.Err) },
		GotFirstResponseByte: func() { event("first_byte", nil) },
		GotConn: func(i httptrace.GotConnInfo) {
			span.AddEvent("connection", trace.WithAttributes(attribute.Bool("reused", i.Reused)))
		},
	}
}

// headers reads a message's headers in whatever case they are spelled.
type headers map[string][]string

// Get returns the first value of a header.
func (h headers) Get(key string) string {
	for name, values := range h {
		if len(values) > 0 && strings.EqualFold(name, key) {
			return values[0]
		}
	}
	return ""
}

// Set sets a header.
func (h headers) Set(key, value string) { h[key] = []string{value} }

// Keys is not asked for by the reading of a trace context.
func (h headers) Keys() []string { return nil }

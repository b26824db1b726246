package dlqstore

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// span begins the span of one transaction of the projector, if there is a tracer, with
// links to the traces that its dead letters came in.
func (p *Projector) span(ctx context.Context, stream string, b Batch) (context.Context, func(error)) {
	if p.tracer == nil {
		return ctx, func(error) {}
	}
	var links []trace.Link
	for _, d := range b.DeadLetters {
		for name, values := range d.Headers {
			if len(values) == 0 || !strings.EqualFold(name, "traceparent") {
				continue
			}
			from := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": values[0]})
			links = append(links, trace.LinkFromContext(from, attribute.String("relay.id", d.ID)))
		}
	}
	ctx, span := p.tracer.Start(ctx, "project", trace.WithLinks(links...), trace.WithAttributes(
		attribute.String("relay.stream", stream),
		attribute.Int("relay.dead_letters", len(b.DeadLetters)), attribute.Int("relay.attempts", len(b.Attempts))))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

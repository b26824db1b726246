package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracesFlush bounds the sending of the last spans at the end.
const tracesFlush = 5 * time.Second

// newTracer makes the tracer of OpenTelemetry's environment variables, over OTLP/HTTP;
// nil when no endpoint is named there. flush sends what is left.
func newTracer(ctx context.Context, log *slog.Logger) (_ trace.Tracer, flush func(), err error) {
	flush = func() {}
	set := func(name string) bool { return os.Getenv(name) != "" }
	if !set("OTEL_EXPORTER_OTLP_ENDPOINT") && !set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") ||
		os.Getenv("OTEL_TRACES_EXPORTER") == "none" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, flush, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if v := os.Getenv(name); v != "" && v != "http/protobuf" {
			return nil, flush, fmt.Errorf("%s: relay sends traces as http/protobuf, got %q", name, v)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, flush, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "relay"), attribute.String("service.version", relayVersion()),
			attribute.String("service.instance.id", instance())),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, flush, fmt.Errorf("traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "err", err) }))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	flush = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracesFlush)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.Warn("the last traces were not sent", "err", err)
		}
	}
	return provider.Tracer("relay"), flush, nil
}

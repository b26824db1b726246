package main

import (
	"context"
	"log/slog"
	"sync/atomic"

	"relay/routes"
)

// sampler writes one in every lines of deliveries that succeeded, and all else: what
// failed, in whatever way, is never left out.
type sampler struct {
	slog.Handler
	every     uint64
	successes *atomic.Uint64
}

func (s sampler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sampler{s.Handler.WithAttrs(attrs), s.every, s.successes}
}

func (s sampler) WithGroup(name string) slog.Handler {
	return sampler{s.Handler.WithGroup(name), s.every, s.successes}
}

func (s sampler) Handle(ctx context.Context, r slog.Record) error {
	if !succeeded(r) {
		return s.Handler.Handle(ctx, r)
	}
	if (s.successes.Add(1)-1)%s.every != 0 {
		return nil
	}
	r = r.Clone()
	r.AddAttrs(slog.Uint64("sample", s.every)) // so that lines can be counted
	return s.Handler.Handle(ctx, r)
}

// succeeded says whether a line tells of a delivery and of no trouble.
func succeeded(r slog.Record) bool {
	if r.Message != "attempt" || r.Level > slog.LevelInfo {
		return false
	}
	acked := false
	r.Attrs(func(a slog.Attr) bool {
		acked = a.Key == "outcome" && a.Value.String() == string(routes.Ack)
		return !acked
	})
	return acked
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logging is what the flags say of the log.
type logging struct {
	format, level string
	sample        int // one in so many lines of deliveries that succeeded; 1: all of them
}

// newLogger makes the logger of --log-format, --log-level and --log-sample.
func newLogger(w io.Writer, how logging) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(how.level)); err != nil {
		return nil, fmt.Errorf("--log-level: want debug, info, warn or error, got %q", how.level)
	}
	o := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch how.format {
	case "text":
		handler = slog.NewTextHandler(w, o)
	case "json":
		handler = slog.NewJSONHandler(w, o)
	case "compact":
		handler = &compactHandler{mu: &sync.Mutex{}, w: w, level: level}
	default:
		return nil, fmt.Errorf("--log-format: want text, json or compact, got %q", how.format)
	}
	switch {
	case how.sample < 1:
		return nil, fmt.Errorf("--log-sample: want 1, for every line, or more, got %d", how.sample)
	case how.sample > 1:
		handler = sampler{handler, uint64(how.sample), new(atomic.Uint64)}
	}
	return slog.New(handler), nil
}

// compactHandler writes a line for people to follow at a terminal: an attempt in
// columns, anything else as its message and what came with it.
type compactHandler struct {
	mu    *sync.Mutex
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

func (h *compactHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *compactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &c
}

// WithGroup ignores groups; relay's log has none.
func (h *compactHandler) WithGroup(string) slog.Handler { return h }

func (h *compactHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Time.Format("15:04:05.000"))
	if r.Message == "attempt" {
		h.attempt(&b, r)
	} else {
		fmt.Fprintf(&b, "  %s  %s", strings.ToLower(r.Level.String()), r.Message)
		write := func(a slog.Attr) bool {
			fmt.Fprintf(&b, "  %s=%s", a.Key, printable(a.Value.String()))
			return true
		}
		for _, a := range h.attrs {
			write(a)
		}
		r.Attrs(write)
	}
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

// attempt writes time, route, subject, attempt, status, duration and outcome.
func (h *compactHandler) attempt(b *strings.Builder, r slog.Record) {
	v := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool { v[a.Key] = a.Value; return true })
	status := "  -"
	if v["status"].Int64() != 0 {
		status = v["status"].String()
	}
	outcome := v["outcome"].String()
	switch outcome {
	case "nak":
		outcome = fmt.Sprintf("nak, again in %s", v["retry_in"].Duration().Round(10*time.Millisecond))
	case "term":
		outcome = "term, dead letter: " + v["reason"].String()
	}
	if n, ok := v["replay"]; ok {
		outcome += " (replay " + n.String() + ")"
	}
	fmt.Fprintf(b, "  %-18s %-20s #%-2d %s %7s  %s", v["route"], printable(v["subject"].String()), v["attempt"].Int64(),
		status, v["duration"].Duration().Round(100*time.Microsecond), outcome)
	if e, ok := v["err"]; ok && v["status"].Int64() == 0 {
		fmt.Fprintf(b, "  (%s)", printable(e.String()))
	}
}

// printable keeps foreign text from moving a terminal's cursor or faking a line. Of the
// characters that do, those of keep stay.
func printable(s string, keep ...rune) string {
	return strings.Map(func(r rune) rune {
		if slices.Contains(keep, r) {
			return r
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

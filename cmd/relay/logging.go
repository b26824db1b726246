package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// newLogger makes the logger of --log-format and --log-level.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: want debug, info, warn or error, got %q", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case "compact":
		return slog.New(&compactHandler{mu: &sync.Mutex{}, w: w, level: l}), nil
	default:
		return nil, fmt.Errorf("--log-format: want text, json or compact, got %q", format)
	}
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
		for _, a := range h.attrs {
			fmt.Fprintf(&b, "  %s=%s", a.Key, printable(a.Value.String()))
		}
		r.Attrs(func(a slog.Attr) bool {
			fmt.Fprintf(&b, "  %s=%s", a.Key, printable(a.Value.String()))
			return true
		})
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

// printable keeps foreign text from moving a terminal's cursor or faking a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

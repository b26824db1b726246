package admin

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"relay/dlqstore"
)

// maxTextBytes bounds a word that is searched for, a reason and the like.
const maxTextBytes = 512

// maxAttempts is more than any route makes.
const maxAttempts = 1_000_000_000

// parseFilter reads the parameters of a list of dead letters. Times are RFC 3339,
// dates (UTC), or ages as in 90m, 24h or 7d.
func parseFilter(q url.Values, now time.Time) (f dlqstore.Filter, p dlqstore.Page, err error) {
	for name, values := range q {
		for _, v := range values {
			if err := checkText(name, v); err != nil {
				return f, p, err
			}
		}
	}
	f.Route, f.Fingerprint, f.Query, p.Cursor = q.Get("route"), q.Get("fingerprint"), q.Get("q"), q.Get("cursor")
	var errs [7]error
	f.Subject, errs[0] = parseSubject(q.Get("subject"))
	f.Reason, errs[1] = oneOf("reason", dlqstore.Reason(q.Get("reason")), reasons())
	f.State, errs[2] = oneOf("state", dlqstore.State(q.Get("state")), states())
	f.Status, errs[3] = parseNumber("status", q.Get("status"), 100, 999)
	f.MinAttempts, errs[4] = parseNumber("min_attempts", q.Get("min_attempts"), 1, maxAttempts)
	p.Limit, errs[5] = parseNumber("limit", q.Get("limit"), 1, 500)
	f.Since, f.Until, errs[6] = parseSpan(q, now)
	return f, p, cmp.Or(errs[:]...)
}

// parseSpan reads since and until.
func parseSpan(q url.Values, now time.Time) (since, until time.Time, err error) {
	since, err = parseTime("since", q.Get("since"), now)
	if err == nil {
		until, err = parseTime("until", q.Get("until"), now)
	}
	return since, until, err
}

func reasons() []dlqstore.Reason {
	return []dlqstore.Reason{dlqstore.Exhausted, dlqstore.Expired, dlqstore.Rejected, dlqstore.Aborted,
		dlqstore.Oversize, dlqstore.Poison, dlqstore.Blocked}
}

func states() []dlqstore.State {
	return []dlqstore.State{dlqstore.Dead, dlqstore.Replaying, dlqstore.Delivered, dlqstore.Discarded}
}

func badParameter(name, format string, args ...any) *problem {
	p := invalid("invalid_parameter", format, args...)
	p.message = name + ": " + p.message
	return p
}

// checkText refuses text that a database would refuse.
func checkText(name, v string) error {
	switch {
	case len(v) > maxTextBytes:
		return badParameter(name, "at most %d bytes", maxTextBytes)
	case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
		return badParameter(name, "UTF-8 text without NUL wanted")
	default:
		return nil
	}
}

func oneOf[T ~string](name string, v T, words []T) (T, error) {
	if v == "" || slices.Contains(words, v) {
		return v, nil
	}
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return "", badParameter(name, "one of %s wanted, got %q", strings.Join(list, ", "), string(v))
}

func parseNumber(name, v string, low, high int) (int, error) {
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, badParameter(name, "a number from %d to %d wanted, got %q", low, high, v)
	}
	return n, nil
}

func parseSubject(v string) (string, error) {
	if v == "" {
		return "", nil
	}
	tokens := strings.Split(v, ".")
	for i, t := range tokens {
		if t == "" || strings.ContainsAny(t, " \t\r\n") || t == ">" && i < len(tokens)-1 {
			return "", badParameter("subject", "a NATS subject wanted, where * stands for one token and > for the rest, got %q", v)
		}
	}
	return v, nil
}

// parseTime reads a time, which has a year that both databases know and order alike.
func parseTime(name, v string, now time.Time) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		t, err := time.Parse(layout, v)
		if year := t.UTC().Year(); err == nil && (year < 1970 || year > 9999) {
			return time.Time{}, badParameter(name, "a year from 1970 to 9999 wanted, got %q", v)
		}
		if err == nil {
			return t, nil
		}
	}
	age, err := time.ParseDuration(v)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		age = time.Duration(min(n, 36500)) * 24 * time.Hour
	}
	if err != nil || age < 0 {
		return time.Time{}, badParameter(name,
			"a time as in 2026-01-31T15:04:05Z, a date or an age as in 90m, 24h or 7d wanted, got %q", v)
	}
	return now.Add(-age), nil
}

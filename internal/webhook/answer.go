package webhook

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDrainBytes is how much of an answer's body is read so that its connection
	// can be used again; a longer one costs the connection.
	maxDrainBytes = 64 << 10
	// maxBodyTime is how long the rest of a body is waited for. The headers said all
	// that counts.
	maxBodyTime = time.Second
)

// bodyTime is how long the body may take of an attempt that has to end by then.
func bodyTime(end time.Time) time.Duration {
	return max(0, min(maxBodyTime, time.Until(end)))
}

// readAnswer reads what is kept of an answer and closes it. limit is called before a
// body is read. A body that ends early, late or never changes nothing.
func readAnswer(resp *http.Response, limit func()) Answer {
	if resp.StatusCode < http.StatusOK {
		// After 101 the body is the bare connection: a read would heed no deadline.
		_ = resp.Body.Close()
		return Answer{Err: finalInformational(resp.StatusCode)}
	}
	answer := Answer{Status: resp.StatusCode, Header: resp.Header}
	if resp.ContentLength != 0 {
		limit()
		answer.Body = readBody(resp.Body)
	}
	_ = resp.Body.Close()
	return answer
}

func finalInformational(status int) *Error {
	if status < 100 {
		return &Error{ClassMalformed, errors.New("the answer's status is below 100")}
	}
	return &Error{ClassUpgrade, errors.New("the receiver answered " + strconv.Itoa(status) + " to a request that asked for no upgrade")}
}

// readBody returns the first MaxBodyBytes of the body and drains a little more.
func readBody(r io.Reader) []byte {
	kept, err := io.ReadAll(io.LimitReader(r, MaxBodyBytes))
	if err == nil && len(kept) == MaxBodyBytes {
		_, _ = io.CopyN(io.Discard, r, maxDrainBytes-MaxBodyBytes)
	}
	return kept
}

// RetryAfter reads the Retry-After header: seconds, or a date in one of HTTP's three
// forms, as the time from the answer's own Date, or from now without one, never
// negative: so the two clocks need not agree. ok says that there is a usable value,
// bad that there is one that cannot be understood. Seconds beyond what a Duration
// holds give the largest Duration.
func RetryAfter(h http.Header, now time.Time) (d time.Duration, ok, bad bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false, false
	}
	if isDigits(value) {
		sec, err := strconv.ParseInt(value, 10, 64)
		if err != nil || sec > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64, true, false
		}
		return time.Duration(sec) * time.Second, true, false
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false, true
	}
	if sent, err := http.ParseTime(h.Get("Date")); err == nil {
		now = sent
	}
	return max(0, at.Sub(now)), true, false
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// afterAnswer forgets a token that the receiver refused, and takes the request's own
// credentials out of what a receiver sent back: the answer is kept and shown.
func (s *Sender) afterAnswer(a *Answer, authorization string) {
	if authorization == "" || a.Status < 300 {
		return
	}
	if s.tokens != nil && a.Status == http.StatusUnauthorized {
		s.tokens.forget(authorization)
	}
	_, secret, _ := strings.Cut(authorization, " ")
	a.Body = bytes.ReplaceAll(a.Body, []byte(secret), []byte(redacted))
	for _, values := range a.Header {
		for i, v := range values {
			values[i] = strings.ReplaceAll(v, secret, redacted)
		}
	}
}

// redacted stands for a secret in what is kept of an answer.
const redacted = "[redacted]"

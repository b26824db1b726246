package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"relay/routes"
)

// The headers that tell a receiver what it got. A subject or a stream name may hold
// more than HTTP carries: in relay-subject, relay-stream and the ce-* headers made from
// them, space, '"', '%' and every byte outside visible ASCII is percent-encoded, as
// the HTTP binding of CloudEvents 1.0 has it (section 3.1.3.2).
const (
	HeaderRoute          = "relay-route"
	HeaderAttempt        = "relay-attempt"
	HeaderSubject        = "relay-subject"
	HeaderStream         = "relay-stream"
	HeaderStreamSequence = "relay-stream-sequence"
	HeaderEventTime      = "relay-event-time" // RFC 3339, when the message was stored
	HeaderReplayOf       = "relay-replay-of"  // replays only
)

// idempotencyKey is spelled as it is on purpose: net/http looks for the canonical
// spelling and would take it as leave to send the request twice.
const idempotencyKey = "idempotency-key"

// field is one header of a request. HTTP can carry both of its strings.
type field struct{ name, value string }

// fields are the headers of a request, in the order in which they go out.
type fields []field

func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(one field) bool { return one.name == name })
}

// with adds a header in the place of those of its name. f is used up by it.
func (f fields) with(name, value string) fields {
	return append(slices.DeleteFunc(f, func(one field) bool { return one.name == name }), field{name, value})
}

// header is what net/http sends the fields from.
func (f fields) header() http.Header {
	h := make(http.Header, len(f))
	for _, one := range f {
		h[one.name] = append(h[one.name], one.value)
	}
	return h
}

// fixedHeaders are those that are the same in every request of a route.
func fixedHeaders(r routes.Route, version string) (fields, error) {
	if version == "" {
		version = "dev"
	}
	f := fields{{"User-Agent", "relay/" + version}, {"Accept-Encoding", "identity"}, {HeaderRoute, r.Name}}
	for _, name := range slices.Sorted(maps.Keys(r.Webhook.Headers)) {
		value := r.Webhook.Headers[name]
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("webhook.headers: %q is not a header name", name)
		case isReserved(name):
			return nil, fmt.Errorf("webhook.headers: %s is set by relay or belongs to the connection", name)
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("webhook.headers: the value of %s holds a character that HTTP cannot carry", name)
		}
		f = f.with(headerKey(name), value)
	}
	return f, nil
}

// header builds the headers of one attempt and counts those of the message that could
// not be forwarded.
func (s *Sender) header(m *Message, sess *session, authorization string, now time.Time) (f fields, dropped int) {
	f = append(make(fields, 0, len(s.fixed)+12), s.fixed...) // 12 are about what is added below
	f, dropped = s.forward.appendTo(f, m.Headers)
	if !f.has("Content-Type") {
		f = append(f, field{"Content-Type", contentType(m)})
	}
	if authorization != "" {
		f = f.with("Authorization", authorization)
	}
	id := percentEncode(m.ID)
	prefix := signedPrefix(id, now)
	f = append(f, field{HeaderID, id}, field{HeaderTimestamp, string(prefix[len(id)+1 : len(prefix)-1])})
	if len(sess.keys) > 0 {
		f = append(f, field{HeaderSignature, sess.sign(prefix, m.Body)})
	}
	subject, eventTime := percentEncode(m.Subject), m.EventTime.UTC().Format(time.RFC3339Nano)
	f = append(f,
		field{HeaderAttempt, strconv.Itoa(m.Attempt)},
		field{HeaderSubject, subject},
		field{HeaderStream, percentEncode(m.Stream)},
		field{HeaderStreamSequence, strconv.FormatUint(m.Sequence, 10)},
		field{HeaderEventTime, eventTime})
	if m.ReplayOf != "" {
		f = append(f, field{HeaderReplayOf, percentEncode(m.ReplayOf)})
	}
	if s.route.Webhook.IdempotencyKey {
		f = f.with(idempotencyKey, id)
	}
	if parent, state := traceContext(m.Headers); parent != "" {
		f = f.with("Traceparent", parent)
		if state != "" {
			f = f.with("Tracestate", state)
		}
	}
	if s.route.Webhook.CloudEvents == routes.CloudEventsBinary {
		f = f.withCloudEvent(m, id, subject, eventTime)
	}
	return f, dropped
}

// sign returns the value of webhook-signature: one signature a secret, newest first.
func (c *credentials) sign(prefix, body []byte) string {
	b := make([]byte, 0, 64*len(c.keys))
	for i, k := range c.keys {
		if i > 0 {
			b = append(b, ' ')
		}
		b = k.appendSignature(b, prefix, body)
	}
	return string(b)
}

// contentType is the message's own when it is usable, else what the body looks like.
func contentType(m *Message) string {
	if own := headerValue(m.Headers, "Content-Type"); strings.Contains(own, "/") && httpguts.ValidHeaderFieldValue(own) {
		return own
	}
	if isJSON(m.Body) {
		return "application/json"
	}
	return "application/octet-stream"
}

// isJSON says whether the body is JSON: an object or an array by its outline, for to
// parse every body would cost more than to sign it, anything else by parsing it.
func isJSON(body []byte) bool {
	body = bytes.TrimSpace(body)
	if len(body) < 2 || (body[0] != '{' && body[0] != '[') {
		const longestScalar = 1 << 10
		return len(body) > 0 && len(body) <= longestScalar && strings.IndexByte(`"-0123456789tfn`, body[0]) >= 0 && json.Valid(body)
	}
	inside := bytes.TrimSpace(body[1 : len(body)-1])
	last := body[len(body)-1]
	if body[0] == '[' {
		return last == ']'
	}
	return last == '}' && (len(inside) == 0 || inside[0] == '"')
}

// headerValue returns the first value of a message's header, whatever its case.
func headerValue(h map[string][]string, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// headerKey is the name under which a header stands in an http.Header.
func headerKey(name string) string {
	key := textproto.CanonicalMIMEHeaderKey(name)
	if key == "Idempotency-Key" || key == "X-Idempotency-Key" {
		return strings.ToLower(key)
	}
	return key
}

// percentEncode writes s in visible ASCII; url.PathUnescape reads it back.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	i := 0
	for i < len(s) && isPlain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for ; i < len(s); i++ {
		if isPlain(s[i]) {
			b = append(b, s[i])
		} else {
			b = append(b, '%', hex[s[i]>>4], hex[s[i]&15])
		}
	}
	return string(b)
}

func isPlain(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// traceContext returns the message's W3C trace context to be handed on as it is; both
// are empty when its traceparent is malformed.
func traceContext(h map[string][]string) (parent, state string) {
	parent = headerValue(h, "traceparent")
	if !isTraceparent(parent) {
		return "", ""
	}
	state = headerValue(h, "tracestate")
	if len(state) > 512 || !httpguts.ValidHeaderFieldValue(state) {
		state = ""
	}
	return parent, state
}

// isTraceparent checks version-traceid-parentid-flags; versions above 00 may go on.
func isTraceparent(v string) bool {
	const size = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-00")
	if len(v) < size || (len(v) > size && (v[:2] == "00" || v[size] != '-')) || !httpguts.ValidHeaderFieldValue(v) {
		return false
	}
	version, trace, parent, flags := v[:2], v[3:35], v[36:52], v[53:55]
	for _, part := range []string{version, trace, parent, flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return v[2] == '-' && v[35] == '-' && v[52] == '-' && version != "ff" &&
		strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

// withCloudEvent makes the request a CloudEvent 1.0 in binary mode: the body is the
// event's data, and its attributes are headers. A message that brings ce-* headers keeps
// them; what it lacks is made of the delivery: the id is the delivery's, the source
// its stream, the type and the subject its subject. One whose body is a whole
// CloudEvent (application/cloudevents…) is left alone.
func (f fields) withCloudEvent(m *Message, id, subject, eventTime string) fields {
	if slices.ContainsFunc(f, func(one field) bool {
		return one.name == "Content-Type" && strings.HasPrefix(one.value, "application/cloudevents")
	}) {
		return f
	}
	for name, values := range m.Headers {
		if len(values) > 0 && len(name) > 3 && strings.EqualFold(name[:3], "ce-") &&
			httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(values[0]) {
			f = f.with(headerKey(name), values[0])
		}
	}
	for _, attribute := range []field{
		{"Ce-Specversion", "1.0"},
		{"Ce-Id", id},
		{"Ce-Source", "/streams/" + percentEncode(m.Stream)},
		{"Ce-Type", subject},
		{"Ce-Time", eventTime},
		{"Ce-Subject", subject},
	} {
		if !f.has(attribute.name) {
			f = append(f, attribute)
		}
	}
	return f
}

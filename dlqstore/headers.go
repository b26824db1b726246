package dlqstore

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"golang.org/x/net/http/httpguts"
)

const (
	// origPrefix stands before the name of an original header that would mean
	// something to JetStream, to a client library or to relay.
	origPrefix = "Relay-Orig-"
	// headerOrigRest holds, as ExactHeaders writes them, the original headers that
	// the client library would not write as they are.
	headerOrigRest = "Relay-Orig"
)

// HeaderBytes is what the headers take on the wire.
func HeaderBytes(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}

// addOriginal copies the original's headers so that none of them means anything on
// the way: Nats-Rollup would wipe the stream, Nats-Expected-* would fail every
// publish, Status and Description are read by client libraries.
func addOriginal(h nats.Header, orig map[string][]string) {
	rest := map[string][]string{}
	for name, values := range orig {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !plainValues(values):
			rest[name] = values
		case reserved(name):
			h[origPrefix+name] = values
		default:
			h[name] = values
		}
	}
	if len(rest) > 0 {
		h.Set(headerOrigRest, string(ExactHeaders(rest)))
	}
}

// original is the inverse of addOriginal.
func original(h nats.Header) (map[string][]string, error) {
	out := map[string][]string{}
	for name, values := range h {
		if orig, ok := strings.CutPrefix(name, origPrefix); ok {
			out[orig] = values
		} else if !reserved(name) {
			out[name] = values
		}
	}
	if v := h.Get(headerOrigRest); v != "" {
		rest, err := ParseExactHeaders([]byte(v))
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", headerOrigRest, err)
		}
		maps.Copy(out, rest)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// reserved says whether a header of that name is JetStream's, a client library's or
// relay's.
func reserved(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, "Relay-") ||
		name == "Status" || name == "Description"
}

// plainValues says whether the client library writes the values as they are; it
// trims space and replaces line ends, and no value at all cannot be written.
func plainValues(values []string) bool {
	for _, v := range values {
		if strings.TrimSpace(v) != v || strings.ContainsAny(v, "\r\n") {
			return false
		}
	}
	return len(values) > 0
}

// exactHeader is a header in the one form that keeps every byte: base64 in JSON.
type exactHeader struct {
	Name   []byte   `json:"name"`
	Values [][]byte `json:"values"`
}

// ExactHeaders writes headers byte for byte as ASCII, the same headers always alike: a JSON
// list of objects with name and values in base64.
func ExactHeaders(h map[string][]string) []byte {
	list := make([]exactHeader, 0, len(h))
	for _, name := range slices.Sorted(maps.Keys(h)) {
		e := exactHeader{Name: []byte(name), Values: make([][]byte, 0, len(h[name]))}
		for _, v := range h[name] {
			e.Values = append(e.Values, []byte(v))
		}
		list = append(list, e)
	}
	return mustJSON(list)
}

// ParseExactHeaders is the inverse of ExactHeaders. It fails on what that does not write.
func ParseExactHeaders(data []byte) (map[string][]string, error) {
	var list []exactHeader
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	h := make(map[string][]string, len(list))
	for _, e := range list {
		values := make([]string, 0, len(e.Values))
		for _, v := range e.Values {
			values = append(values, string(v))
		}
		h[string(e.Name)] = values
	}
	return h, nil
}

// headerColumns is how headers stand in a table: as JSON that can be queried, and,
// only when JSON would change them, byte for byte beside it.
func headerColumns(h map[string][]string) (query string, exact []byte) {
	clean := make(map[string][]string, len(h))
	changed := false
	for name, values := range h {
		cleaned := make([]string, 0, len(values))
		for _, v := range values {
			cleaned = append(cleaned, cleanText(v))
			changed = changed || cleaned[len(cleaned)-1] != v
		}
		cleanName := cleanText(name)
		changed = changed || cleanName != name
		clean[cleanName] = append(clean[cleanName], cleaned...)
	}
	if changed {
		exact = ExactHeaders(h)
	}
	return string(mustJSON(clean)), exact
}

// parseHeaderColumns is the inverse of headerColumns.
func parseHeaderColumns(query string, exact []byte) (map[string][]string, error) {
	if exact != nil {
		return ParseExactHeaders(exact)
	}
	var h map[string][]string
	if err := json.Unmarshal([]byte(query), &h); err != nil {
		return nil, err
	}
	if len(h) == 0 {
		return nil, nil
	}
	return h, nil
}

// cleanText makes foreign text fit for a text column: UTF-8 without NUL.
func cleanText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// mustJSON marshals what always marshals: strings, numbers, and lists and maps of them.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("dlqstore: " + err.Error())
	}
	return data
}

package webhook

import (
	"strings"

	"golang.org/x/net/http/httpguts"
)

// isReserved says that a header is never taken from a message or from webhook.headers:
// relay's own, those of Standard Webhooks, and those that belong to one connection
// (RFC 9110, section 7.6.1).
func isReserved(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "host", "content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive",
		"upgrade", "te", "trailer", "expect", "http2-settings", "accept-encoding":
		return true
	}
	return strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "relay-") ||
		strings.HasPrefix(name, "proxy-") || strings.HasPrefix(name, ":")
}

// forwardList is a route's webhook.forward_headers.
type forwardList struct {
	names    map[string]bool // lower case
	prefixes []string        // lower case; of the patterns that end in *
}

func newForwardList(patterns []string) forwardList {
	f := forwardList{names: make(map[string]bool, len(patterns))}
	for _, p := range patterns {
		p = strings.ToLower(p)
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			f.prefixes = append(f.prefixes, prefix)
		} else {
			f.names[p] = true
		}
	}
	return f
}

// allows says whether a message's header goes out.
func (f forwardList) allows(name string) bool {
	name = strings.ToLower(name)
	if f.names[name] {
		return !isReserved(name)
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(name, p) {
			return !isReserved(name)
		}
	}
	return false
}

// appendTo adds the message's headers that are allowed and not there already, and counts
// those that HTTP cannot carry. The content type and the trace context have rules of
// their own.
func (f forwardList) appendTo(to fields, message map[string][]string) (all fields, dropped int) {
	if len(f.names) == 0 && len(f.prefixes) == 0 {
		return to, 0
	}
	all = to
	for name, values := range message {
		key := headerKey(name)
		if !f.allows(name) || to.has(key) || key == "Content-Type" || key == "Traceparent" || key == "Tracestate" {
			continue
		}
		for _, v := range values {
			if httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(v) {
				all = append(all, field{key, v})
			} else {
				dropped++
			}
		}
	}
	return all, dropped
}

package routes

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var (
	headerNameForm   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // token of RFC 9110, section 5.6.2
	headerPrefixForm = regexp.MustCompile("^[!#$%&'+.^_`|~0-9A-Za-z-]*\\*?$")
)

// headersKind is a mapping of header names to values.
func headersKind() kind[map[string]string] {
	value := str("a header's value")
	name := pattern(codeHeader, "a header's name is made of letters, digits and -", headerNameForm)
	return mapOf(value, headerNameForm, func(d *decoder, n *node) (map[string]string, bool) {
		headers := map[string]string{}
		places := map[string]*node{}
		for _, p := range n.pairs {
			leave := d.enter(p.key.text)
			if _, ok := name.read(d, asText(p.key)); ok && !p.value.null() && d.headerName(p.key, p.key.text, p.value) {
				key := http.CanonicalHeaderKey(p.key.text)
				if first := places[key]; first != nil {
					d.problem(p.key, codeDuplicate, "a header stands once, whatever its case; the first is at %s", first.pos())
				}
				places[key] = p.key
				if v, ok := value.read(d, p.value); ok && d.headerValue(p.value, v) {
					headers[key] = v
				}
			}
			leave()
		}
		return headers, true
	})
}

// asText is a key as the text that it is, whatever YAML makes of it.
func asText(key *node) *node {
	text := *key
	text.tag, text.quoted = "!!str", true
	return &text
}

// headerName records a name that is not the file's to set. value, which may be nil,
// is hidden when the header is one that holds a secret.
func (d *decoder) headerName(n *node, name string, value *node) bool {
	lower := strings.ToLower(name)
	var rule string
	switch {
	case lower == "authorization":
		rule = "Authorization comes from webhook.auth, with its secret outside the file"
	case lower == "idempotency-key":
		rule = "Idempotency-Key comes from webhook.idempotency_key: true"
	case slices.Contains([]string{
		"host", "content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive",
		"upgrade", "te", "trailer", "expect", "http2-settings", "accept-encoding", "traceparent", "tracestate",
	}, lower), strings.HasPrefix(lower, "webhook-"), strings.HasPrefix(lower, "relay-"), strings.HasPrefix(lower, "proxy-"):
		rule = "relay or the connection sets this header"
	default:
		return true
	}
	if value != nil && lower == "authorization" {
		n.src.masked[value.line] = value.column
	}
	d.problem(n, codeReserved, "%s, got %s", rule, quote(name))
	return false
}

// headerValue records a value that HTTP cannot carry (RFC 9110, section 5.5).
func (d *decoder) headerValue(n *node, value string) bool {
	bad := strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' })
	if bad < 0 && strings.TrimSpace(value) == value {
		return true
	}
	d.problem(n, codeHeader, "a header's value is one line of ASCII without spaces around it, got %s", n.show())
	return false
}

// forwardKind is a list of header names, each of which may end in *.
func forwardKind() kind[[]string] {
	item := checked(pattern(codeHeader, "a header's name, or its start with * at the end", headerPrefixForm),
		func(d *decoder, n *node, name string) bool {
			return strings.HasSuffix(name, "*") || d.headerName(n, name, nil)
		})
	return checked(listOf(item, 0, 100), func(d *decoder, n *node, names []string) bool {
		for i, name := range names {
			first := slices.IndexFunc(names[:i], func(other string) bool { return strings.EqualFold(other, name) })
			if name != "" && first >= 0 {
				d.problem(n.items[i], codeDuplicate, "a header stands once, whatever its case, got %s; the first is at %s", quote(name), n.items[first].pos())
				return false
			}
		}
		return true
	})
}

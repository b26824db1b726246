package routes

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// webhookURL is an http or https URL that relay posts to.
func webhookURL() kind[string] {
	return urlKind("a URL such as https://example.com/hooks", "; write them under webhook.auth")
}

// proxyURL is the URL of an HTTP proxy.
func proxyURL() kind[string] { return urlKind("a URL such as http://proxy.internal:3128", "") }

func urlKind(want, otherPlace string) kind[string] {
	k := str(want)
	return kind[string]{
		&shape{word: "URL", json: is(jsonSchema{Type: "string", Pattern: orExpansion(urlForm.String())})},
		func(d *decoder, n *node) (string, bool) {
			text, ok := k.read(d, n)
			if !ok {
				return "", false
			}
			if hasCredentials(text) {
				n.src.masked[n.line] = n.column
				d.problem(n, codeURL, "a URL holds no credentials%s", otherPlace)
				return "", false
			}
			if rule, suggestion := urlRule(text); rule != "" {
				d.suggest(n, suggestion, codeURL, "%s, got %s", rule, n.show())
				return "", false
			}
			return text, true
		},
	}
}

func hasCredentials(text string) bool {
	_, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	return strings.Contains(authority, "@")
}

// urlRule is the rule that a URL breaks, or "", and what to write instead.
func urlRule(text string) (rule, suggestion string) {
	if strings.ContainsFunc(text, unicode.IsSpace) {
		return "a URL holds no spaces", ""
	}
	scheme, _, found := strings.Cut(text, "://")
	switch {
	case !found && strings.HasPrefix(text, "/"):
		return "a URL begins with https:// and a host", ""
	case !found:
		return "a URL begins with https:// or http://", "https://" + text
	case !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https"):
		return "a URL begins with https:// or http://", ""
	case strings.Contains(text, "#"):
		return "a URL holds no fragment, the part from # on, since it is never sent", text[:strings.IndexByte(text, '#')]
	}
	u, err := url.Parse(text)
	if err != nil {
		return "a URL is made of a host, a port from 1 to 65535, a path and a query", ""
	}
	if u.Hostname() == "" {
		return "a URL names a host", ""
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
			return "the port of a URL is from 1 to 65535", ""
		}
	}
	return hostRule(u.Hostname())
}

var (
	urlForm    = regexp.MustCompile(`^[Hh][Tt][Tt][Pp][Ss]?://[^\s@/?#]+([/?][^\s#]*)?$`)
	hostForm   = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?$`)
	numberForm = regexp.MustCompile(`^(0[xX][0-9a-fA-F]*|[0-9]+)$`)
)

// hostRule is the rule that a host breaks. A host whose last part is a number is an
// IPv4 address to a browser and to inet_aton, in forms that hide which (WHATWG URL,
// section 3.5): only the plain form is taken.
func hostRule(host string) (rule, suggestion string) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addressRule(addr.Unmap()), ""
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	switch {
	case strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }):
		return "a host is written in ASCII, an international name as xn--…", ""
	case numberForm.MatchString(labels[len(labels)-1]):
		return "an IPv4 address is four decimal numbers from 0 to 255, without leading zeros", ""
	case len(host) > 253 || !hostForm.MatchString(host):
		return "a host is made of letters, digits, - and dots", ""
	}
	return "", ""
}

// addressRule refuses the addresses that no webhook is at whatever egress: says. The
// guard that looks at every connection knows more of them.
func addressRule(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified(), addr.Is4() && addr.As4()[0] == 0:
		return "a webhook is not at the unspecified address"
	case addr.IsLinkLocalUnicast():
		return "a webhook is not at a link-local address, where metadata services answer"
	case addr.IsMulticast(), addr.Is4() && addr.As4()[0] >= 240:
		return "a webhook is at the address of one host"
	}
	return ""
}

// isPrivate says whether egress: strict refuses the host of a URL that is an address
// or localhost, unless a network of allow holds it. Names are looked up at every
// connection, not here.
func isPrivate(rawURL string, allow []string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, cidr := range allow {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(addr) {
			return false
		}
	}
	return addr.IsLoopback() || addr.IsPrivate()
}

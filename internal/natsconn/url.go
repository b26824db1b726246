package natsconn

import (
	"fmt"
	"net/url"
	"strings"
)

// Redact returns a NATS URL, or a list of them separated by commas, without user,
// password, token and query, to be shown in logs, pages and errors. It accepts any
// string, also one that is no URL.
func Redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		list[i] = redactOne(strings.TrimSpace(s))
	}
	return strings.Join(list, ",")
}

// redactOne works on the text, not on a parsed URL: what does not parse may hold a
// password too.
func redactOne(s string) string {
	s, _, _ = strings.Cut(s, "?")
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = rest[at+1:]
	}
	return scheme + rest
}

// checkURL says what is wrong with a URL list, or returns nil. The library would
// accept any scheme and dial it as NATS.
func checkURL(urls string) error {
	for s := range strings.SplitSeq(urls, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil { // its text quotes the URL, password and all
			return fmt.Errorf("NATS URL %q: is not a URL; special characters of a user or password are written in percent encoding", Redact(s))
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("NATS URL %q: the scheme is nats, tls, ws or wss, as in nats://127.0.0.1:4222", Redact(s))
		}
		if u.Hostname() == "" {
			return fmt.Errorf("NATS URL %q: a host is missing, as in nats://127.0.0.1:4222", Redact(s))
		}
	}
	return nil
}

package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"

	"relay/routes"
)

// guard judges the addresses that a route's connections go to.
type guard struct {
	strict    *ssrf.Guardian // nil in internal mode
	never     []netip.Prefix
	allow     []netip.Prefix
	forbidden []netip.AddrPort
}

// blockedError says that the guard refuses an address.
type blockedError struct {
	addr netip.AddrPort
	why  string
}

func (b *blockedError) Error() string {
	return fmt.Sprintf("egress to %s is not allowed: %s", b.addr, b.why)
}

func isBlocked(err error) bool {
	var b *blockedError
	return errors.As(err, &b)
}

func newGuard(e routes.Egress, forbidden []netip.AddrPort) (*guard, error) {
	g := &guard{never: neverNetworks()}
	switch e.Mode {
	case routes.EgressStrict:
		g.strict = ssrf.New(ssrf.WithAnyPort())
		g.forbidden = forbidden
	case routes.EgressInternal, "":
	default:
		return nil, fmt.Errorf("webhook.egress is internal or strict, not %q", e.Mode)
	}
	for _, cidr := range e.Allow {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("webhook.egress.allow: %q is not a CIDR such as 10.1.0.0/16", cidr)
		}
		g.allow = append(g.allow, p.Masked())
	}
	return g, nil
}

// control is the dialer's hook: it runs for every address, before its connection is
// made, whichever of Go's resolvers found it.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("egress: %w", err)
	}
	return g.check(addr)
}

// checkHost refuses a URL whose host is an address that is not allowed, when a proxy
// will connect to it: then the proxy's is the only address that is dialed from here.
func (g *guard) checkHost(target, proxy *url.URL) error {
	if ip, err := netip.ParseAddr(target.Hostname()); err == nil && proxy != nil {
		return g.check(netip.AddrPortFrom(ip, 0))
	}
	return nil
}

func (g *guard) check(addr netip.AddrPort) error {
	ip := addr.Addr().WithZone("").Unmap()
	addr = netip.AddrPortFrom(ip, addr.Port())
	if why := g.verdict(addr); why != "" {
		return &blockedError{addr, why}
	}
	for _, inner := range embedded(ip) {
		if why := g.verdict(netip.AddrPortFrom(inner, addr.Port())); why != "" {
			return &blockedError{addr, "it leads to " + inner.String() + ", " + why}
		}
	}
	return nil
}

// verdict says why one address is refused; empty: it is not.
func (g *guard) verdict(addr netip.AddrPort) string {
	ip := addr.Addr()
	switch {
	case contains(g.never, ip):
		return "no webhook may reach link-local, metadata, unspecified, multicast and reserved addresses"
	case g.strict == nil:
		return ""
	case slices.Contains(g.forbidden, addr):
		return "it is one of relay's own"
	}
	public := len(embedded(ip)) > 0 || g.strict.SafeAddr(ip) == nil
	switch {
	case public:
		return ""
	case slices.Contains(g.forbidden, netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())),
		slices.Contains(g.forbidden, netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())):
		return "its port is one of relay's own"
	case contains(g.allow, ip):
		return ""
	default:
		return "webhook.egress is strict and the address is not public; webhook.egress.allow can name its network"
	}
}

// neverNetworks are those that no webhook is in: what a machine's own network or its
// cloud answers on (metadata services give credentials away), and what is no address
// of one host.
func neverNetworks() []netip.Prefix {
	cidrs := []string{
		"0.0.0.0/8", "::/128", // unspecified
		"169.254.0.0/16", "fe80::/10", // link-local, most metadata services among them
		"224.0.0.0/4", "ff00::/8", // multicast
		"240.0.0.0/4",        // reserved, and broadcast
		"fd00:ec2::/32",      // AWS: metadata, DNS, credentials of pods
		"fd20:ce::/32",       // Google Cloud
		"fd00:c1::/32",       // Oracle Cloud
		"fd00:42::42/128",    // Scaleway
		"100.100.100.200/32", // Alibaba Cloud
		"192.0.0.192/32",     // Oracle Cloud, older
		"168.63.129.16/32",   // Azure's host, a public address answered inside
	}
	list := make([]netip.Prefix, len(cidrs))
	for i, c := range cidrs {
		list[i] = netip.MustParsePrefix(c)
	}
	return list
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

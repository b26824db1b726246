package webhook

import "net/netip"

// IPv6 networks whose addresses stand for an IPv4 address.
var (
	netCompatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	netTranslated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 7915
	netNAT64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	netNAT64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	net6to4       = netip.MustParsePrefix("2002::/16")       // RFC 3056
	netTeredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	loopback6     = netip.MustParsePrefix("::/127")          // :: and ::1 embed nothing
)

// embedded returns the IPv4 addresses that an IPv6 address may lead to.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() || loopback6.Contains(ip) {
		return nil
	}
	b := ip.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case netCompatible.Contains(ip), netTranslated.Contains(ip), netNAT64.Contains(ip):
		return []netip.Addr{at(12)}
	case netNAT64Local.Contains(ip):
		// The network's owner chose the length of the prefix; RFC 6052 puts the
		// address around byte 8 for those below 96.
		return []netip.Addr{
			at(12),
			netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),
			at(9),
		}
	case net6to4.Contains(ip):
		return []netip.Addr{at(2)}
	case netTeredo.Contains(ip):
		// The server, and the client with its bits turned.
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{at(4), client}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return []netip.Addr{at(12)}
	default:
		return nil
	}
}

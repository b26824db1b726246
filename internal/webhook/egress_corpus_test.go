package webhook

import (
	"net/netip"
	"testing"

	"relay/routes"
)

// Every form of address that somebody may try, and what each mode says to it. It is a
// test from inside because an allowed address would otherwise have to be dialed.
func TestGuardAddresses(t *testing.T) {
	const (
		open    = "open"    // public: both modes
		private = "private" // internal only
		never   = "never"
	)
	tests := []struct{ address, want string }{
		{"93.184.215.14", open},
		{"1.1.1.1", open},
		{"8.8.8.8", open},
		{"172.15.255.255", open},
		{"172.32.0.1", open},
		{"192.167.255.255", open},
		{"11.0.0.1", open},
		{"100.63.255.255", open},
		{"100.128.0.1", open},
		{"2606:4700:4700::1111", open},
		{"2a00:1450:4001:830::200e", open},

		{"127.0.0.1", private},
		{"127.0.0.2", private},
		{"127.255.255.254", private},
		{"10.0.0.1", private},
		{"10.255.255.255", private},
		{"172.16.0.1", private},
		{"172.31.255.255", private},
		{"192.168.0.1", private},
		{"192.168.255.255", private},
		{"100.64.0.1", private},
		{"100.127.255.255", private},
		{"192.0.0.1", private},
		{"192.0.2.1", private},
		{"192.88.99.1", private},
		{"198.18.0.1", private},
		{"198.19.255.255", private},
		{"198.51.100.1", private},
		{"203.0.113.1", private},
		{"::1", private},
		{"fc00::1", private},
		{"fd12:3456:789a::1", private},
		{"fec0::1", private},
		{"2001:db8::1", private},
		{"3fff::1", private},
		{"100::1", private},
		{"4000::1", private},

		{"0.0.0.0", never},
		{"0.1.2.3", never},
		{"169.254.0.1", never},
		{"169.254.169.254", never},
		{"169.254.170.2", never},
		{"169.254.169.123", never},
		{"100.100.100.200", never},
		{"192.0.0.192", never},
		{"168.63.129.16", never},
		{"224.0.0.1", never},
		{"239.255.255.255", never},
		{"240.0.0.1", never},
		{"255.255.255.255", never},
		{"::", never},
		{"fe80::1", never},
		{"fe80::1%eth0", never},
		{"febf::1", never},
		{"ff02::1", never},
		{"ff0e::1", never},
		{"fd00:ec2::254", never},
		{"fd00:ec2::23", never},
		{"fd20:ce::254", never},
		{"fd00:c1::a9fe:a9fe", never},
		{"fd00:42::42", never},

		// IPv4-mapped
		{"::ffff:8.8.8.8", open},
		{"::ffff:127.0.0.1", private},
		{"::ffff:10.0.0.1", private},
		{"::ffff:169.254.169.254", never},
		{"::ffff:a9fe:a9fe", never},
		{"::ffff:0.0.0.0", never},
		{"::ffff:169.254.169.254%eth0", never},
		// IPv4-compatible
		{"::8.8.8.8", open},
		{"::127.0.0.1", private},
		{"::169.254.169.254", never},
		{"::2", never}, // 0.0.0.2
		// IPv4-translated
		{"::ffff:0:8.8.8.8", open},
		{"::ffff:0:10.0.0.1", private},
		{"::ffff:0:169.254.169.254", never},
		// NAT64
		{"64:ff9b::8.8.8.8", open},
		{"64:ff9b::127.0.0.1", private},
		{"64:ff9b::192.168.1.1", private},
		{"64:ff9b::169.254.169.254", never},
		{"64:ff9b::100.100.100.200", never},
		{"64:ff9b:1::169.254.169.254", never},
		{"64:ff9b:1:a9fe:a9:fe00::", never},   // in a prefix of 48 bits
		{"64:ff9b:1:0a9:fe:a9fe::", never},    // of 56
		{"64:ff9b:1:0:a9:fea9:fe00::", never}, // of 64
		// 6to4
		{"2002:808:808::1", open},
		{"2002:7f00:1::1", private},
		{"2002:c0a8:101::1", private},
		{"2002:a9fe:a9fe::1", never},
		{"2002:e000:1::1", never},
		// Teredo: the server 8.8.8.8 and a client with its bits turned; then a bad server
		{"2001:0:808:808:0:0:f7f7:f7f7", open},
		{"2001:0:808:808:0:0:80ff:fffe", private},
		{"2001:0:808:808:0:0:5601:5601", never},
		{"2001:0:a9fe:a9fe:0:0:f7f7:f7f7", never},
		// ISATAP
		{"2a00:1450:4001:830:0:5efe:8.8.8.8", open},
		{"2a00:1450:4001:830:0:5efe:10.0.0.1", private},
		{"2a00:1450:4001:830:200:5efe:169.254.169.254", never},
	}
	if len(tests) < 60 {
		t.Errorf("%d forms", len(tests))
	}
	strict, internal := mustGuard(t, routes.Egress{Mode: routes.EgressStrict}), mustGuard(t, routes.Egress{})
	for _, tt := range tests {
		addr := netip.AddrPortFrom(netip.MustParseAddr(tt.address), 443)
		got := open
		switch {
		case internal.check(addr) != nil && strict.check(addr) != nil:
			got = never
		case internal.check(addr) != nil:
			got = "strict only"
		case strict.check(addr) != nil:
			got = private
		}
		if got != tt.want {
			t.Errorf("%s is %s, want %s", tt.address, got, tt.want)
		}
		if err := internal.control("tcp", addr.String(), nil); (err == nil) != (tt.want != never) {
			t.Errorf("control(%s) = %v", addr, err)
		}
	}
}

func TestGuardExceptions(t *testing.T) {
	g := mustGuard(t, routes.Egress{Mode: routes.EgressStrict, Allow: []string{"10.1.0.0/16", "127.0.0.0/8", "fd00::/8", "169.254.0.0/16", "8.8.8.0/24"}},
		netip.MustParseAddrPort("127.0.0.1:4222"), netip.MustParseAddrPort("8.8.8.8:5432"), netip.MustParseAddrPort("[::]:8080"))
	tests := map[string]bool{ // address → allowed
		"10.1.2.3:80":               true,
		"[::ffff:10.1.2.3]:80":      true,
		"[64:ff9b::10.1.2.3]:80":    true,
		"10.2.0.1:80":               false,
		"[fd00::1]:80":              true,
		"[fd00:ec2::254]:80":        false, // never, whatever is allowed
		"169.254.169.254:80":        false,
		"127.0.0.1:80":              true,
		"127.0.0.1:4222":            false,
		"[::ffff:127.0.0.1]:4222":   false,
		"[64:ff9b::127.0.0.1]:4222": false,
		"127.0.0.1:8080":            false, // relay listens on every address
		"10.1.2.3:8080":             false,
		"1.1.1.1:8080":              true,
		"8.8.8.8:5432":              false,
		"8.8.8.8:443":               true,
	}
	for address, want := range tests {
		if err := g.check(netip.MustParseAddrPort(address)); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", address, err, want)
		}
	}
}

func mustGuard(t *testing.T, e routes.Egress, forbidden ...netip.AddrPort) *guard {
	t.Helper()
	g, err := newGuard(e, forbidden)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"relay/dlqstore"
)

// ownAddresses are where relay's own NATS, database and admin page are, as their names
// resolve now: a webhook whose egress is strict must not reach them. What does not
// resolve is logged and left out.
func ownAddresses(ctx context.Context, conn *nats.Conn, database string, admin net.Addr, log *slog.Logger) []netip.AddrPort {
	var own []netip.AddrPort
	add := func(hostPort, defaultPort string) {
		host, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			host, port = strings.Trim(hostPort, "[]"), defaultPort
		}
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		defer cancel()
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil {
			log.Warn("a webhook whose egress is strict could reach this server of relay's", "host", hostPort, "err", err)
			return
		}
		for _, ip := range ips {
			own = append(own, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
		}
	}
	add(admin.String(), "")
	add(conn.ConnectedAddr(), "4222")
	for _, server := range conn.Servers() { // those of the cluster too
		if u, err := url.Parse(server); err == nil {
			add(u.Host, "4222")
		}
	}
	for _, host := range dlqstore.Hosts(database) {
		add(host, "")
	}
	return own
}

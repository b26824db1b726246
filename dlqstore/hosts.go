package dlqstore

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// Hosts are the addresses, as HOST:PORT, at which Open looks for the database, those
// that the environment names (PGHOST, PGSERVICE) among them. There are none of SQLite, of
// a socket, and of a URL that Open refuses.
func Hosts(databaseURL string) []string {
	if strings.HasPrefix(databaseURL, "sqlite:") {
		return nil
	}
	config, err := parsePostgres(databaseURL)
	if err != nil {
		return nil
	}
	var all []string
	add := func(host string, port uint16) {
		if !strings.HasPrefix(host, "/") {
			all = append(all, net.JoinHostPort(host, strconv.Itoa(int(port))))
		}
	}
	add(config.ConnConfig.Host, config.ConnConfig.Port)
	for _, f := range config.ConnConfig.Fallbacks {
		add(f.Host, f.Port)
	}
	return slices.Compact(all) // with and without TLS a host stands twice
}

package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// proxy stands between relay and a server, and does to their connections what
// toxiproxy's toxics do.
type proxy struct {
	t *testing.T
	*toxiproxy.Proxy
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &proxy{t, toxiproxy.NewProxy(server, "chaos", "127.0.0.1:0", upstream)}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// infect adds a toxic to one direction: upstream is what relay sends.
func (p *proxy) infect(kind, direction string, attributes map[string]any) toxics.Toxic {
	p.t.Helper()
	text, err := json.Marshal(map[string]any{"name": kind + direction, "type": kind, "stream": direction, "attributes": attributes})
	if err != nil {
		p.t.Fatal(err)
	}
	toxic, err := p.Toxics.AddToxicJson(bytes.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	return toxic.Toxic
}

func (p *proxy) heal() { p.Toxics.ResetToxics(context.Background()) }

// through is the URL of a server with the proxy in place of its host.
func (p *proxy) through(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		p.t.Fatal(err)
	}
	u.Host = p.Listen
	return u.String()
}

// hostOf is the host and port of a URL.
func hostOf(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// atCommit is the toxic that cuts a connection to Postgres as a COMMIT passes: each
// second time the server has got it, and its client cannot know.
type atCommit struct{ cuts atomic.Int64 }

// atCommitName is its type for infect.
const atCommitName = "at_commit"

// Pipe passes everything on until it sees a COMMIT.
func (a *atCommit) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			if !strings.Contains(strings.ToLower(string(c.Data)), "commit\x00") {
				stub.Output <- c
				continue
			}
			if a.cuts.Add(1)%2 == 0 {
				stub.Output <- c
			}
			stub.Close()
			return
		}
	}
}

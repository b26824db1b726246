package natsconn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
)

// cliContext holds the keys of a nats CLI context that relay understands, and those
// that it must not ignore. The file's format is that of github.com/nats-io/jsm.go,
// package natscontext.
type cliContext struct {
	URL         string `json:"url"`
	User        string `json:"user"`
	Password    string `json:"password"`
	Token       string `json:"token"`
	Creds       string `json:"creds"`
	NKey        string `json:"nkey"`
	Cert        string `json:"cert"`
	Key         string `json:"key"`
	CA          string `json:"ca"`
	InboxPrefix string `json:"inbox_prefix"`
	TLSFirst    bool   `json:"tls_first"`

	// Not supported: without them relay would talk to another place, or as another.
	NSC         string `json:"nsc"`
	UserJWT     string `json:"user_jwt"`
	SocksProxy  string `json:"socks_proxy"`
	JSDomain    string `json:"jetstream_domain"`
	JSAPIPrefix string `json:"jetstream_api_prefix"`
}

// loadContext reads the nats CLI context of that name.
func loadContext(name string) (cliContext, error) {
	if name != filepath.Base(name) || name == "." || name == ".." {
		return cliContext{}, fmt.Errorf("NATS context %q: a name is wanted, not a path", name)
	}
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return cliContext{}, fmt.Errorf("find NATS context %q: %w", name, err)
		}
		dir = filepath.Join(home, ".config")
	}
	path := filepath.Join(dir, "nats", "context", name+".json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cliContext{}, fmt.Errorf("NATS context %q: there is no %s; `nats context ls` lists what there is", name, path)
	}
	if err != nil {
		return cliContext{}, fmt.Errorf("read NATS context %q: %w", name, err)
	}
	var c cliContext
	if err := json.Unmarshal(b, &c); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return cliContext{}, fmt.Errorf("read NATS context %s: %s cannot be a %s", path, wrong.Field, wrong.Value)
		}
		return cliContext{}, fmt.Errorf("read NATS context %s: %w", path, err)
	}
	return c, c.check(path)
}

func (c cliContext) check(path string) error {
	for _, k := range []struct{ key, value string }{
		{"nsc", c.NSC}, {"user_jwt", c.UserJWT}, {"socks_proxy", c.SocksProxy},
		{"jetstream_domain", c.JSDomain}, {"jetstream_api_prefix", c.JSAPIPrefix},
	} {
		if k.value != "" {
			return fmt.Errorf("NATS context %s: relay does not support %s; give the URL and credentials instead of the context", path, k.key)
		}
	}
	return nil
}

// fill sets the fields of o that are empty and returns the options that have no field.
func (c cliContext) fill(o *Options) []nats.Option {
	var opts []nats.Option
	own := o.Creds != "" || o.NKey != "" || strings.Contains(o.URL, "@")
	if !own {
		o.Creds, o.NKey = expandHome(c.Creds), expandHome(c.NKey)
		switch { // as the CLI chooses between them
		case c.User != "":
			o.Creds, o.NKey = "", ""
			opts = append(opts, nats.UserInfo(c.User, c.Password))
		case c.Creds != "":
			o.NKey = ""
		case c.NKey == "" && c.Token != "":
			opts = append(opts, nats.Token(c.Token))
		}
	}
	if o.URL == "" {
		o.URL = c.URL
	}
	if o.TLSCA == "" {
		o.TLSCA = expandHome(c.CA)
	}
	if o.TLSCert == "" && o.TLSKey == "" {
		o.TLSCert, o.TLSKey = expandHome(c.Cert), expandHome(c.Key)
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return opts
}

// expandHome replaces a leading ~/ as the CLI does.
func expandHome(path string) string {
	rest, found := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !found || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}

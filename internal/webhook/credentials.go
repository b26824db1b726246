package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"golang.org/x/net/http/httpguts"

	"relay/routes"
)

// credentials are what a route's secret references held when they were last read.
type credentials struct {
	keys          []key  // newest first
	authorization string // of bearer and basic; empty with OAuth2
	clientSecret  string // of OAuth2
	tls           *tls.Config
	files         map[string]os.FileInfo // what was read, as it was before it was read
}

// readCredentials reads everything that the webhook keeps outside the routes file.
func readCredentials(w routes.Webhook, lookup func(string) (string, bool)) (*credentials, error) {
	c := &credentials{files: map[string]os.FileInfo{}}
	read := func(s routes.Secret) (string, error) {
		c.watch(s.File)
		return s.Value(lookup)
	}
	for i, ref := range w.Signing.Secrets {
		k, err := readKey(read, ref)
		if err != nil {
			return nil, fmt.Errorf("webhook.signing.secrets[%d] (%s): %w", i, ref, err)
		}
		c.keys = append(c.keys, k)
	}
	if err := c.readAuth(read, w.Auth); err != nil {
		return nil, err
	}
	if err := c.readTLS(w.TLS); err != nil {
		return nil, err
	}
	return c, nil
}

type readFunc func(routes.Secret) (string, error)

func readKey(read readFunc, ref routes.Secret) (key, error) {
	secret, err := read(ref)
	if err != nil {
		return key{}, err
	}
	k, err := parseKey(secret)
	if err == nil && !k.canSign() {
		err = errPublicKey
	}
	return k, err
}

func (c *credentials) readAuth(read readFunc, a routes.Auth) error {
	switch {
	case a.Bearer != nil:
		token, err := read(*a.Bearer)
		if err == nil && !httpguts.ValidHeaderFieldValue(token) {
			err = errors.New("the token holds a character that HTTP cannot carry")
		}
		if err != nil {
			return fmt.Errorf("webhook.auth.bearer (%s): %w", a.Bearer, err)
		}
		c.authorization = "Bearer " + token
	case a.Basic != nil:
		password, err := read(a.Basic.Password)
		if err != nil {
			return fmt.Errorf("webhook.auth.basic.password (%s): %w", a.Basic.Password, err)
		}
		c.authorization = basicAuth(a.Basic.Username, password)
	case a.OAuth2 != nil:
		secret, err := read(a.OAuth2.ClientSecret)
		if err != nil {
			return fmt.Errorf("webhook.auth.oauth2.client_secret (%s): %w", a.OAuth2.ClientSecret, err)
		}
		c.clientSecret = secret
	}
	return nil
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func (c *credentials) readTLS(t routes.TLS) error {
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		c.watch(t.CAFile)
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return fmt.Errorf("webhook.tls.ca_file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a system without roots: the file's alone count
		}
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("webhook.tls.ca_file: %s holds no PEM certificate", t.CAFile)
		}
		c.tls.RootCAs = pool
	}
	if t.CertFile != "" || t.KeyFile != "" {
		c.watch(t.CertFile)
		c.watch(t.KeyFile)
		certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return fmt.Errorf("webhook.tls.cert_file and key_file: %w", err)
		}
		c.tls.Certificates = []tls.Certificate{certificate}
	}
	return nil
}

// watch notes how a file stands before it is read, so that a change while it is read
// is seen the next time.
func (c *credentials) watch(path string) {
	if path != "" {
		info, _ := os.Stat(path) // nil while it is missing
		c.files[path] = info
	}
}

// changed says whether a file is another than the one that was read.
func (c *credentials) changed() bool {
	for path, was := range c.files {
		is, err := os.Stat(path)
		if err != nil || was == nil || !os.SameFile(was, is) || was.Size() != is.Size() || !was.ModTime().Equal(is.ModTime()) {
			return true
		}
	}
	return false
}

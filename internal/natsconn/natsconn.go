// Package natsconn connects relay to NATS: URLs, nats CLI contexts, credentials, TLS,
// reconnection for ever and what the connection has to say about itself. It also runs
// the embedded server of single-machine relays.
//
// cmd/relay calls it; the packages below get a finished *nats.Conn.
package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	// tryTimeout bounds one try at one server: dial, TLS and the first exchange.
	tryTimeout = 5 * time.Second
	// A dead peer is noticed after pingInterval × maxPings.
	pingInterval = 20 * time.Second
	maxPings     = 3
	// reconnectWait lies between two tries at the same server, and reconnectJitter
	// is added to it at random, so that a fleet does not come back as one.
	reconnectWait   = 500 * time.Millisecond
	reconnectJitter = time.Second
	// Wait pauses between waitMin, doubling, and waitMax.
	waitMin = 250 * time.Millisecond
	waitMax = 5 * time.Second
)

// Options says where NATS is and who connects. The zero value connects to
// nats://127.0.0.1:4222 without credentials.
type Options struct {
	// URL of one server or, separated by commas, of several of one cluster. A user,
	// password or token may stand in it. Defaults to the context's URL, then to
	// nats://127.0.0.1:4222.
	URL string
	// Context names a context of the nats CLI, the file
	// $XDG_CONFIG_HOME/nats/context/NAME.json. What Options sets itself wins over it.
	Context string
	// Creds is the path of a credentials file (JWT and seed). It is read again at
	// every reconnect. Excludes NKey.
	Creds string
	// NKey is the path of a file that holds an nkey seed. Excludes Creds.
	NKey string
	// TLSCA is the path of a PEM file of the authorities to trust instead of the
	// system's. Setting it makes TLS mandatory.
	TLSCA string
	// TLSCert and TLSKey are the paths of the client's certificate and its key, in PEM.
	// Both or neither; setting them makes TLS mandatory.
	TLSCert, TLSKey string
	// Name is shown by the server's tools. Defaults to relay.
	Name string
	// Logger takes disconnects, reconnects and what the server reports out of turn.
	// Nil: nothing is logged.
	Logger *slog.Logger
	// OnPermissionError, if set, is called with the subject of each publish or
	// subscription that the server refused. The server reports these to the connection
	// and not to the call, which just times out. It must return quickly; calls do not
	// overlap.
	OnPermissionError func(subject string)
}

// Connect tries each server of the options once and returns a connection that from
// then on reconnects for ever, also after an authorization error, since credentials
// may be mended in place. The caller closes it. The context bounds the connecting only.
//
// Errors are one line that names the server without credentials.
func Connect(ctx context.Context, o Options) (*nats.Conn, error) {
	t, err := o.target()
	if err != nil {
		return nil, err
	}
	return t.connect(ctx)
}

// Wait is Connect that keeps trying until a server answers or ctx ends. It calls
// onWait, unless nil, with the reason after each try that failed.
//
// What waiting cannot mend it returns at once: a URL that cannot be right, a file that
// cannot be read, credentials or a certificate that are not accepted.
func Wait(ctx context.Context, o Options, onWait func(err error)) (*nats.Conn, error) {
	t, err := o.target()
	if err != nil {
		return nil, err
	}
	try := func() (*nats.Conn, error) {
		nc, err := t.connect(ctx)
		if err != nil && !passes(err) {
			return nil, backoff.Permanent(err)
		}
		return nc, err
	}
	pauses := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(waitMin), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(waitMax), backoff.WithMaxElapsedTime(0))
	notify := func(err error, _ time.Duration) {
		if onWait != nil {
			onWait(err)
		}
	}
	return backoff.RetryNotifyWithData(try, backoff.WithContext(pauses, ctx), notify)
}

// target is a checked Options: where to connect and how.
type target struct {
	url  string
	opts []nats.Option
}

// target reads and checks everything that needs no server.
func (o Options) target() (target, error) {
	login := []nats.Option{}
	if o.Context != "" {
		c, err := loadContext(o.Context)
		if err != nil {
			return target{}, err
		}
		login = c.fill(&o)
	}
	if o.URL == "" {
		o.URL = nats.DefaultURL
	}
	if err := checkURL(o.URL); err != nil {
		return target{}, err
	}
	files, err := o.fileOptions()
	if err != nil {
		return target{}, err
	}
	return target{url: o.URL, opts: append(append(o.connOptions(), login...), files...)}, nil
}

// fileOptions are the options that come out of files: credentials and TLS.
func (o Options) fileOptions() ([]nats.Option, error) {
	var opts []nats.Option
	switch {
	case o.Creds != "" && o.NKey != "":
		return nil, errors.New("NATS credentials: give a credentials file or an nkey file, not both")
	case o.Creds != "":
		if err := checkCreds(o.Creds); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(o.Creds))
	case o.NKey != "":
		opt, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("read NATS nkey file %q: %w", o.NKey, err)
		}
		opts = append(opts, opt)
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return nil, errors.New("NATS client certificate: give the certificate and its key together")
	}
	if o.TLSCert != "" {
		if _, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey); err != nil {
			return nil, fmt.Errorf("read NATS client certificate %q with key %q: %w", o.TLSCert, o.TLSKey, err)
		}
		opts = append(opts, nats.ClientCert(o.TLSCert, o.TLSKey))
	}
	if o.TLSCA != "" {
		pem, err := os.ReadFile(o.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("read NATS certificate authorities: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read NATS certificate authorities: %q holds no certificate in PEM", o.TLSCA)
		}
		opts = append(opts, nats.RootCAs(o.TLSCA))
	}
	return opts, nil
}

// checkCreds finds out now what the connection would say again at every try.
func checkCreds(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read NATS credentials: %w", err)
	}
	key, err := nkeys.ParseDecoratedNKey(b)
	if err != nil {
		return fmt.Errorf("read NATS credentials %q: no user seed in it; `nsc generate creds` makes such a file", path)
	}
	key.Wipe()
	return nil
}

// connect tries every server of the URL once.
func (t target) connect(ctx context.Context) (*nats.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", Redact(t.url), err)
	}
	// The dialer outlives this call, for reconnects: ctx cancels it only until then.
	dialCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, cancel)
	defer release()
	dial := dialFunc(func(network, address string) (net.Conn, error) {
		return (&net.Dialer{Timeout: tryTimeout}).DialContext(dialCtx, network, address)
	})
	nc, err := nats.Connect(t.url, append(slices.Clip(t.opts), nats.SetCustomDialer(dial))...)
	switch {
	case err == nil && release():
		return nc, nil
	case err == nil: // ctx ended in the same moment: the dialer is dead
		nc.Close()
		err = ctx.Err()
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	cancel()
	return nil, fmt.Errorf("connect to NATS at %s: %w%s", Redact(t.url), err, advice(err))
}

type dialFunc func(network, address string) (net.Conn, error)

func (f dialFunc) Dial(network, address string) (net.Conn, error) { return f(network, address) }

// passes says whether an error of connect may go away by waiting.
func passes(err error) bool {
	return !isAuth(err) && !isTLS(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func isAuth(err error) bool {
	for _, e := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
		nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isTLS(err error) bool {
	return isUntrusted(err) || errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired)
}

// isUntrusted says whether the server's certificate was not accepted.
func isUntrusted(err error) bool {
	_, is := errors.AsType[*tls.CertificateVerificationError](err)
	return is
}

// advice says how to mend err, as the end of its sentence.
func advice(err error) string {
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return "; is the server running, and is this its address?"
	case isAuth(err):
		return "; check the user and password, token, credentials or nkey"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "; the server speaks no TLS: use nats:// and no certificates, or turn TLS on there"
	case isUntrusted(err):
		return "; give the authority that signed the server's certificate, and use the name that stands in it"
	default:
		return ""
	}
}

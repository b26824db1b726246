package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"
)

// Bounds of a request. The longest answer is the download of a large payload.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute
	writeTimeout      = 2 * time.Minute
	idleTimeout       = 2 * time.Minute
	workTimeout       = 15 * time.Second // of the database and NATS, for one request
	shutdownTimeout   = 5 * time.Second
	maxHeaderBytes    = 32 << 10
)

// CheckAddr returns an error for an address that would let others than this machine
// reach the admin surface, for use without authentication.
func CheckAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("admin address %q: want HOST:PORT, as in 127.0.0.1:8080", addr)
	}
	if loopbackHost(host) {
		return nil
	}
	return fmt.Errorf("admin address %q can be reached from other machines, and nobody is asked who they are: "+
		"use 127.0.0.1, say who may use it with --admin-users or --admin-tokens, or pass --admin-insecure", addr)
}

// Serve answers requests on the listener until the context ends, lets those under
// way finish for at most five seconds, and closes the listener. It returns nil after
// such an end, and what CheckAddr says of the listener's address unless there is
// authentication or Options.AllowRemote is set. It is called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.remote() {
		if err := CheckAddr(ln.Addr().String()); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(func() { close(s.closing) })
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the admin address %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.log.Warn("admin requests were cut off at shutdown", "err", srv.Close())
	}
	<-served //nolint:errcheck // http.ErrServerClosed, since Shutdown was called
	return nil
}

// remote says whether other machines may reach the admin surface. With authentication
// a foreign host name is harmless: the browser keeps our cookie from it.
func (s *Server) remote() bool { return s.opts.AllowRemote || s.opts.Auth != nil }

func loopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// guardHost refuses names that somebody else's DNS may point to this machine: a page
// of theirs, open in the operator's browser, would count as our own origin (DNS
// rebinding).
func (s *Server) guardHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if !s.remote() && !loopbackHost(host) {
			s.refuse(w, r, &problem{http.StatusMisdirectedRequest, "wrong_host",
				"relay's admin address answers to localhost and 127.0.0.1 only", nil})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guardOrigin refuses changes that another site's page asks for.
func (s *Server) guardOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, &problem{http.StatusForbidden, "cross_origin", "the request came from another site's page", nil})
	}))
	return guard.Handler(next)
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "+
			"base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		// Not no-referrer: browsers then send Origin: null with our own forms.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// limitTime bounds the work for a request.
func limitTime(r *http.Request) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	return r.WithContext(ctx), cancel
}

// checkBasePath returns the path without a slash at its end; the root is empty.
func checkBasePath(base string) (string, error) {
	trimmed := strings.Trim(base, "/")
	if trimmed == "" {
		return "", nil
	}
	u, err := url.Parse("/" + trimmed)
	if err != nil || u.Path != "/"+trimmed || u.EscapedPath() != u.Path || path.Clean(u.Path) != u.Path {
		return "", fmt.Errorf("admin base path %q: a path wanted, as in /relay, of letters, digits and - . _ ~", base)
	}
	return u.Path, nil
}

// stripBase takes the base path off a request. One without it is answered as well: a
// proxy may have taken it off, and probes come to relay itself.
func (s *Server) stripBase(next http.Handler) http.Handler {
	base := s.opts.BasePath
	stripped := http.StripPrefix(base, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case base == "" || !strings.HasPrefix(r.URL.Path+"/", base+"/"):
			next.ServeHTTP(w, r)
		case r.URL.Path == base:
			http.Redirect(w, r, base+"/", http.StatusSeeOther)
		default:
			stripped.ServeHTTP(w, r)
		}
	})
}

func (s *Server) recoverPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(v)
			}
			s.log.Error("admin request panicked", "path", r.URL.Path, "err", v, "stack", string(debug.Stack()))
			s.refuse(w, r, &problem{http.StatusInternalServerError, "internal", "relay made a mistake; its log says more", nil})
		}()
		next.ServeHTTP(w, r)
	})
}

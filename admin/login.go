package admin

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"relay/dlqstore"
)

// caller is who asks: a user, and where from.
type caller struct {
	user
	source    string
	formToken string // of their session; empty: there is none
}

type callerKey struct{}

// callerOf is who asks; nobody where relay did not ask who it is.
func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller)
	return c
}

// actor is who asks, for the audit.
func actor(r *http.Request) dlqstore.Actor {
	c := callerOf(r)
	return dlqstore.Actor{Name: c.name, Source: c.source}
}

// peer is the address at the other end of the connection.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// need lets those through who have the role. Every route but the few open ones stands
// behind it.
func (s *Server) need(least role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := s.identify(r)
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
			switch {
			case err != nil:
				s.refuse(w, r, s.problemOf(err))
			case c.role == nobody:
				s.askWho(w, r)
			case c.role < least:
				s.refuse(w, r, s.problemOf(mayNot(c, least)))
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

func mayNot(c caller, least role) error {
	if c.role >= least {
		return nil
	}
	return &problem{http.StatusForbidden, "forbidden", "this takes the role " + least.String() + ", and " + visible(c.name) + " is " + c.role.String(), nil}
}

// identify finds out who asks. An error says that what they showed is wrong; nobody,
// that they showed nothing.
func (s *Server) identify(r *http.Request) (caller, error) {
	a := s.opts.Auth
	if a == nil {
		return caller{user: user{"anonymous", editor}, source: peer(r)}, nil
	}
	c := caller{source: a.source(r)}
	if c.user = a.byProxy(r); c.role != nobody {
		return c, nil
	}
	var err error
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if name, password, ok := r.BasicAuth(); ok {
		c.user, err = a.byPassword(name, password, c.source, s.now())
		return c, err
	}
	if strings.EqualFold(scheme, "Bearer") {
		c.user, err = a.byToken(strings.TrimSpace(token))
		return c, err
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return c, nil //nolint:nilerr // without a cookie they are nobody
	}
	found := a.sessions.find(cookie.Value, s.now())
	// Sessions are for pages: a script that changes something shows who it is each time.
	if isAPI(r.URL.Path) && r.Method == http.MethodPost {
		found = session{}
	}
	c.user, c.formToken = found.user, found.formToken
	return c, nil
}

// askWho sends a browser that opens a page to the login, and refuses everything else.
func (s *Server) askWho(w http.ResponseWriter, r *http.Request) {
	if isAPI(r.URL.Path) || r.URL.Path == eventsPath || r.Method == http.MethodPost || !s.opts.Auth.hasPasswords() {
		s.refuse(w, r, wrongCredentials("relay does not know who you are: log in first"))
		return
	}
	s.redirect(w, r, "/login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode())
}

// challenge tells a script, as RFC 9110 wants of a 401, what it may show.
func (s *Server) challenge(w http.ResponseWriter) {
	if s.opts.Auth.hasPasswords() {
		w.Header().Add("WWW-Authenticate", `Basic realm="relay", charset="UTF-8"`)
	}
	w.Header().Add("WWW-Authenticate", `Bearer realm="relay"`)
}

// checkForm refuses a form that does not come from a page of the session.
func checkForm(r *http.Request) error {
	want := callerOf(r).formToken
	if r.Method != http.MethodPost || want == "" {
		return nil
	}
	if err := parseForm(r); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("form_token")), []byte(want)) != 1 {
		return &problem{http.StatusForbidden, "stale_form", "the form is not one of this session's; open the page again", nil}
	}
	return nil
}

const sessionCookie = "relay_session"

type loginView struct {
	frame
	Name, Next string
	Wrong      string
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	if s.opts.Auth == nil || !s.opts.Auth.hasPasswords() {
		return &problem{http.StatusNotFound, "not_found", "this relay has no login", nil}
	}
	view := loginView{frame: s.frame(r, "Log in", "login"), Name: r.PostFormValue("name"), Next: ownPath(r.FormValue("next"))}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		err := s.logIn(w, r, view.Name, r.PostForm.Get("password"))
		if err == nil {
			s.redirect(w, r, view.Next)
			return nil
		}
		p := s.problemOf(err)
		p.sayWhen(w)
		status, view.Wrong, view.Name = p.status, sentence(p.message), visible(view.Name)
	}
	return render(w, s.pages.login, status, view)
}

// logIn begins a session and gives the browser its cookie.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request, name, password string) error {
	a := s.opts.Auth
	source := a.source(r)
	u, err := a.byPassword(name, password, source, s.now())
	if err != nil {
		s.log.Warn("login refused", "user", cut(visible(name), 64), "source", source, "err", err)
		return err
	}
	s.log.Info("login", "user", u.name, "source", source)
	s.setCookie(w, r, a.sessions.open(u, s.now()), int(sessionLife.Seconds()))
	return nil
}

func (s *Server) logoutPage(w http.ResponseWriter, r *http.Request) error {
	if cookie, err := r.Cookie(sessionCookie); err == nil && s.opts.Auth != nil {
		s.opts.Auth.sessions.end(cookie.Value)
		s.setCookie(w, r, "", -1)
	}
	s.redirect(w, r, "/login")
	return nil
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where there is TLS; on loopback there is none
		Name: sessionCookie, Value: value, Path: cmp.Or(s.opts.BasePath, "/"), MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.opts.Auth.encrypted(r),
	})
}

// ownPath returns a path of ours as it is, and / for whatever leads elsewhere.
func ownPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsRune(path, '\\') {
		return "/"
	}
	return u.RequestURI()
}

// parseForm reads the form of an action.
func parseForm(r *http.Request) error {
	err := r.ParseForm()
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bodyProblem(err, tooLarge.Limit)
	}
	if err != nil {
		return invalid("invalid_body", "the form cannot be read: %v", err)
	}
	return nil
}

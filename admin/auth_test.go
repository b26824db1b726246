package admin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"

	"relay/admin"
	"relay/dlqstore"
)

// hashOf is a line's hash of a password, as cheap as it gets.
func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// staff are three users with a password, one whom only a proxy lets in, and a token
// for each role; passwords and tokens are NAME-secret.
func staff(t *testing.T) admin.AuthOptions {
	t.Helper()
	users, tokens := "# the staff\n\nrita::operator\n", ""
	for _, line := range []struct{ name, role string }{{"vera", ""}, {"otto", ":operator"}, {"edda", ":editor"}} {
		users += line.name + ":" + hashOf(t, line.name+"-secret") + line.role + "\n"
		sum := sha256.Sum256([]byte(line.name + "-secret"))
		tokens += line.name + ":" + hex.EncodeToString(sum[:]) + line.role + "\n"
	}
	return admin.AuthOptions{
		UsersFile: write(t, users), TokensFile: write(t, tokens),
		TrustedHeader: "X-User", TrustedProxies: []string{"192.0.2.0/24"},
	}
}

// guarded serves the admin surface to the staff only.
func guarded(t *testing.T, o admin.AuthOptions, change func(*admin.Options)) *surface {
	t.Helper()
	auth, err := admin.LoadAuth(o)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, func(options *admin.Options) {
		options.Auth = auth
		if change != nil {
			change(options)
		}
	})
}

func bearer(name string) http.Header {
	return http.Header{"Authorization": {"Bearer " + name + "-secret"}}
}

func basic(name, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}}
}

// TestEveryRouteAsksWho walks all routes: without credentials, below the role and with it.
func TestEveryRouteAsksWho(t *testing.T) {
	needs := map[string]string{
		"GET /dead-letters/{id}/edit": "edda", "POST /dead-letters/{id}/edit": "edda", "POST /dead-letters/{id}/edit/check": "edda",
		"GET /healthz": "", "GET /readyz": "", "GET /assets/{name}": "", "GET /login": "", "POST /login": "",
		"GET /health": "vera", "GET /metrics": "vera", "POST /logout": "vera",
		"POST /dead-letters/export": "vera", "GET /replays/{id}": "vera", "GET /audit": "vera", "GET /events": "vera",
		"POST /dead-letters/choose": "otto", "POST /dead-letters/discard": "otto", "POST /dead-letters/restore": "otto",
		"GET /api/v1/openapi.json":         "vera",
		"POST /api/v1/dead-letters/import": "edda", "POST /api/v1/dead-letters/rebuild": "otto",
		"POST /api/v1/dead-letters/discard": "otto", "POST /api/v1/dead-letters/restore": "otto", "GET /api/v1/audit": "vera", "GET /api/v1/replays/{id}/items": "vera",
		"GET /": "vera", "GET /routes/{name}": "vera", "GET /dead-letters": "vera", "GET /dead-letters/{id}": "vera",
		"GET /replays": "vera", "GET /replays/new": "otto", "POST /replays": "otto", "POST /replays/{id}/pause": "otto", "POST /replays/{id}/rate": "otto",
		"POST /replays/{id}/resume": "otto", "POST /replays/{id}/cancel": "otto",
		"POST /routes/{name}/pause": "otto", "POST /routes/{name}/resume": "otto",
		"POST /dead-letters/{id}/replay": "otto", "POST /dead-letters/{id}/discard": "otto", "POST /dead-letters/{id}/restore": "otto",
		"GET /api/v1/routes": "vera", "GET /api/v1/routes/{name}": "vera", "GET /api/v1/dead-letters": "vera",
		"GET /api/v1/dead-letters/{id}": "vera", "GET /api/v1/dead-letters/{id}/payload": "vera", "GET /api/v1/dead-letter-groups": "vera",
		"GET /api/v1/replays": "vera", "GET /api/v1/replays/{id}": "vera",
		"POST /api/v1/routes/{name}/pause": "otto", "POST /api/v1/routes/{name}/resume": "otto",
		"POST /api/v1/dead-letters/{id}/replay": "otto", "POST /api/v1/dead-letters/{id}/discard": "otto",
		"POST /api/v1/dead-letters/{id}/restore": "otto", "POST /api/v1/replays": "otto", "POST /api/v1/replays/{id}/pause": "otto", "POST /api/v1/replays/{id}/rate": "otto",
		"POST /api/v1/replays/{id}/resume": "otto", "POST /api/v1/replays/{id}/cancel": "otto", "POST /api/v1/reload": "otto",
	}
	s := guarded(t, staff(t), func(o *admin.Options) { o.Gatherer = prometheus.NewRegistry() })
	id := s.add(dead(1, nil))[0]
	var walked []string
	err := chi.Walk(s.handler.(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		route := method + " " + pattern
		walked = append(walked, route)
		least, known := needs[route]
		if !known {
			t.Errorf("%s: say here which role it needs", route)
			return nil
		}
		path := strings.NewReplacer("{id}", id, "{name}", "orders-to-billing").Replace(pattern)
		open := s.do(method, path, "", nil)
		page := !strings.HasPrefix(path, "/api/") && path != "/health" && path != "/metrics"
		switch {
		case least == "":
			if open.status == http.StatusForbidden || strings.Contains(open.header.Get("Location"), "/login") {
				t.Errorf("%s is not open: %d", route, open.status)
			}
			return nil
		case page && method == http.MethodGet && path != "/events": // a stream cannot lead to the login
			if want := "/login?next=" + url.QueryEscape(path); open.status != http.StatusSeeOther || open.header.Get("Location") != want {
				t.Errorf("%s, nobody: got %d to %q, want 303 to %q", route, open.status, open.header.Get("Location"), want)
			}
		case open.status != http.StatusUnauthorized:
			t.Errorf("%s, nobody: got %d, want 401", route, open.status)
		}
		for _, header := range []http.Header{bearer("stranger"), basic("vera", "wrong")} {
			if got := s.do(method, path, "", header); got.status != http.StatusUnauthorized && got.status != http.StatusTooManyRequests {
				t.Errorf("%s, wrong credentials: got %d", route, got.status)
			}
		}
		for _, below := range map[string][]string{"otto": {"vera"}, "edda": {"vera", "otto"}}[least] {
			if got := s.do(method, path, "", bearer(below)); got.status != http.StatusForbidden {
				t.Errorf("%s, %s: got %d, want 403", route, below, got.status)
			}
		}
		if got := s.do(method, path, "", bearer(least)); got.status == http.StatusUnauthorized || got.status == http.StatusForbidden ||
			strings.Contains(got.header.Get("Location"), "/login?") {
			t.Errorf("%s, %s: got %d", route, least, got.status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for route := range needs {
		if !slices.Contains(walked, route) {
			t.Errorf("%s is not there any more", route)
		}
	}
}

func TestEditedReplayTakesAnEditor(t *testing.T) {
	s := guarded(t, staff(t), nil)
	id := s.add(dead(1, nil))[0]
	path, body := "/api/v1/dead-letters/"+id+"/replay", `{"payload_base64":"e30="}`
	if got := s.do("POST", path, body, bearer("otto")); got.status != http.StatusForbidden || s.code(got) != "forbidden" {
		t.Errorf("operator: got %d %s", got.status, got.body)
	}
	if got := s.do("POST", path, body, bearer("edda")); got.status != http.StatusAccepted {
		t.Errorf("editor: got %d %s", got.status, got.body)
	}
}

func TestAuditNamesTheUser(t *testing.T) {
	s := guarded(t, staff(t), nil)
	ids := s.add(dead(1, nil), dead(2, nil))
	s.do("POST", "/api/v1/dead-letters/"+ids[0]+"/discard", "", bearer("otto"))
	s.do("POST", "/api/v1/dead-letters/"+ids[1]+"/discard", "", basic("edda", "edda-secret"))
	for i, want := range []string{"otto", "edda"} {
		d, err := s.store.Get(t.Context(), ids[i])
		if err != nil || d.ChangedBy != want || d.State != dlqstore.Discarded {
			t.Errorf("got %s by %q (%v), want %q", d.State, d.ChangedBy, err, want)
		}
	}
}

// browser keeps the cookie and the form token of a session.
type browser struct {
	*surface
	cookie *http.Cookie
}

// logIn fills in the login form.
func (s *surface) logIn(name, password, next string) (*browser, answer) {
	s.t.Helper()
	got := s.form("/login", url.Values{"name": {name}, "password": {password}, "next": {next}}.Encode())
	b := &browser{surface: s}
	if line := got.header.Get("Set-Cookie"); line != "" {
		cookie, err := http.ParseSetCookie(line)
		if err != nil {
			s.t.Fatal(err)
		}
		b.cookie = cookie
	}
	return b, got
}

func (b *browser) do(method, path, body string) answer {
	b.t.Helper()
	return b.surface.do(method, path, body, http.Header{
		"Cookie": {b.cookie.Name + "=" + b.cookie.Value}, "Content-Type": {"application/x-www-form-urlencoded"},
	})
}

var formToken = regexp.MustCompile(`name="form_token" value="([A-Z2-7]+)"`)

func TestSession(t *testing.T) {
	s := guarded(t, staff(t), nil)
	id := s.add(dead(1, nil))[0]
	s.has(s.get("/login?next=/dead-letters"), `name="password"`, `value="/dead-letters"`)

	b, got := s.logIn("otto", "otto-secret", "/dead-letters/"+id)
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/dead-letters/"+id {
		t.Fatalf("login: got %d to %q", got.status, got.header.Get("Location"))
	}
	if c := b.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" {
		t.Errorf("cookie: %v", c)
	}
	page := b.do("GET", "/dead-letters/"+id, "")
	s.has(page, "otto", "Log out", "/discard")
	tokens := formToken.FindAllStringSubmatch(page.body, -1)
	if forms := strings.Count(page.body, `method="post"`); len(tokens) != forms {
		t.Fatalf("%d forms, %d tokens", forms, len(tokens))
	}
	for _, wrong := range []string{"", "form_token=", "form_token=AAAA"} {
		if got := b.do("POST", "/dead-letters/"+id+"/discard", wrong); got.status != http.StatusForbidden {
			t.Errorf("form with %q: got %d", wrong, got.status)
		}
	}
	form := "form_token=" + tokens[0][1]
	if got := b.do("POST", "/dead-letters/"+id+"/discard", form); got.status != http.StatusSeeOther || s.state(id) != dlqstore.Discarded {
		t.Errorf("form: got %d, %s", got.status, s.state(id))
	}
	if got := b.do("GET", "/api/v1/dead-letters/"+id+"/payload", ""); got.status != http.StatusOK {
		t.Errorf("download: got %d", got.status)
	}
	if got := b.do("POST", "/api/v1/dead-letters/"+id+"/restore", ""); got.status != http.StatusUnauthorized {
		t.Errorf("the API took a change by cookie: %d", got.status)
	}
	if got := b.do("POST", "/logout", form); got.header.Get("Location") != "/login" {
		t.Errorf("logout: got %d to %q", got.status, got.header.Get("Location"))
	}
	if got := b.do("GET", "/dead-letters/"+id, ""); got.status != http.StatusSeeOther {
		t.Errorf("after the logout: got %d", got.status)
	}
}

func TestSessionsEnd(t *testing.T) {
	now := noon
	s := guarded(t, staff(t), func(o *admin.Options) { o.Now = func() time.Time { return now } })
	first, _ := s.logIn("vera", "vera-secret", "/")
	now = now.Add(time.Minute)
	if got := first.do("GET", "/", ""); got.status != http.StatusOK {
		t.Fatalf("got %d", got.status)
	}
	for range 1000 { // as many as there may be
		s.logIn("vera", "vera-secret", "/")
	}
	if got := first.do("GET", "/", ""); got.status != http.StatusSeeOther {
		t.Errorf("the oldest of too many sessions: got %d", got.status)
	}
	last, _ := s.logIn("vera", "vera-secret", "/")
	now = now.Add(12 * time.Hour)
	if got := last.do("GET", "/", ""); got.status != http.StatusSeeOther {
		t.Errorf("after its time: got %d", got.status)
	}
}

func TestViewerSeesNoButtons(t *testing.T) {
	s := guarded(t, staff(t), nil)
	id := s.add(dead(1, nil))[0]
	b, _ := s.logIn("vera", "vera-secret", "/")
	for _, path := range []string{"/dead-letters", "/dead-letters/" + id, "/routes/orders-to-billing"} {
		page := b.do("GET", path, "")
		forms := regexp.MustCompile(`action="([^"]+)"`).FindAllStringSubmatch(strings.Join(regexp.MustCompile(`<form[^>]*method="post"[^>]*>`).FindAllString(page.body, -1), ""), -1)
		for _, m := range forms {
			if m[1] != "/logout" && m[1] != "/dead-letters/choose" || strings.Contains(page.body, `name="do"`) { // its one button exports
				t.Errorf("%s: a form for %s", path, m[1])
			}
		}
		if page.status != http.StatusOK || len(forms) == 0 {
			t.Errorf("%s: %d, %d forms", path, page.status, len(forms))
		}
	}
}

func TestLoginThrottled(t *testing.T) {
	now := noon
	s := guarded(t, staff(t), func(o *admin.Options) { o.Now = func() time.Time { return now } })
	for range 5 {
		if _, got := s.logIn("otto", "wrong", "/"); got.status != http.StatusUnauthorized || !strings.Contains(got.body, `value="otto"`) {
			t.Fatalf("wrong password: got %d\n%s", got.status, got.body)
		}
	}
	_, got := s.logIn("otto", "otto-secret", "/")
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "12" {
		t.Errorf("sixth: got %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	}
	if got := s.do("GET", "/api/v1/routes", "", basic("nobody", "x")); got.status != http.StatusTooManyRequests {
		t.Errorf("Basic is a way round: %d", got.status)
	}
	now = now.Add(12 * time.Second)
	if _, got := s.logIn("otto", "otto-secret", "/"); got.status != http.StatusSeeOther {
		t.Errorf("after a while: got %d", got.status)
	}
}

// TestBasicAtOnce: many requests of a script at once are no guessing.
func TestBasicAtOnce(t *testing.T) {
	s := guarded(t, staff(t), nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := s.do("GET", "/api/v1/routes", "", basic("vera", "vera-secret")); got.status != http.StatusOK {
				t.Errorf("got %d", got.status)
			}
		})
	}
	all.Wait()
}

func TestNextStaysHere(t *testing.T) {
	s := guarded(t, staff(t), nil)
	for _, next := range []string{"", "https://evil.example.com/", "//evil.example.com", `/\evil.example.com`, "javascript:alert(1)", "/%0d%0aX: y", "x"} {
		_, got := s.logIn("vera", "vera-secret", next)
		u, err := url.Parse(got.header.Get("Location"))
		if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || got.header.Get("X") != "" {
			t.Errorf("%q leads to %q", next, got.header.Get("Location"))
		}
	}
}

func TestTrustedProxy(t *testing.T) {
	type request struct {
		peers  []string // trusted
		header http.Header
	}
	here, other := []string{"127.0.0.1"}, []string{"192.0.2.0/24"}
	tests := []struct {
		name   string
		ask    request
		status int
		user   string
	}{
		{"of the users file", request{here, http.Header{"X-User": {"rita"}}}, http.StatusOK, "rita"},
		{"unknown: a viewer", request{here, http.Header{"X-User": {"zoe"}}}, http.StatusForbidden, ""},
		{"not from the proxy", request{other, http.Header{"X-User": {"rita"}}}, http.StatusUnauthorized, ""},
		{"none", request{here, nil}, http.StatusUnauthorized, ""},
		{"two", request{here, http.Header{"X-User": {"rita", "edda"}}}, http.StatusUnauthorized, ""},
		{"empty", request{here, http.Header{"X-User": {""}}}, http.StatusUnauthorized, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := staff(t)
			o.TrustedProxies = test.ask.peers
			s := guarded(t, o, nil)
			id := s.add(dead(1, nil))[0]
			got := s.do("POST", "/api/v1/dead-letters/"+id+"/discard", "", test.ask.header)
			d, err := s.store.Get(t.Context(), id)
			if got.status != test.status || err != nil || d.ChangedBy != test.user {
				t.Errorf("got %d, changed by %q (%v)", got.status, d.ChangedBy, err)
			}
		})
	}
	t.Run("no password, no login", func(t *testing.T) {
		if _, got := guarded(t, staff(t), nil).logIn("rita", "", "/"); got.status != http.StatusUnauthorized {
			t.Errorf("got %d", got.status)
		}
	})
	t.Run("cookie over TLS", func(t *testing.T) {
		for _, proxies := range [][]string{here, other} {
			o := staff(t)
			o.TrustedProxies = proxies
			s := guarded(t, o, nil)
			got := s.do("POST", "/login", "name=vera&password=vera-secret", http.Header{
				"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-Proto": {"https"},
			})
			if secure := strings.Contains(got.header.Get("Set-Cookie"), "; Secure"); secure != (&proxies[0] == &here[0]) {
				t.Errorf("proxies %v: cookie %q", proxies, got.header.Get("Set-Cookie"))
			}
		}
	})
	t.Run("throttled by the address before the proxies", func(t *testing.T) {
		o := staff(t)
		o.TrustedProxies = []string{"127.0.0.1", "198.51.100.7"}
		s := guarded(t, o, nil)
		try := func(via string) int {
			header := basic("vera", "wrong")
			header["X-Forwarded-For"] = []string{via}
			return s.do("GET", "/api/v1/routes", "", header).status
		}
		for range 5 {
			try("10.9.9.9, 203.0.113.5, 198.51.100.7")
		}
		if got := try("10.0.0.1, 203.0.113.5"); got != http.StatusTooManyRequests {
			t.Errorf("an invented first hop is a way round: %d", got)
		}
		if got := try("203.0.113.6"); got != http.StatusUnauthorized {
			t.Errorf("somebody else: %d", got)
		}
	})
}

func TestReadyTellsStrangersLittle(t *testing.T) {
	s := guarded(t, staff(t), func(o *admin.Options) {
		o.Config = func() admin.ConfigStatus { return admin.ConfigStatus{Error: "routes.yaml:3:1: unknown key"} }
	})
	if got := s.get("/readyz"); got.status != http.StatusOK || strings.Contains(got.body, "routes.yaml:3") || !strings.Contains(got.body, `"routes_file":{"ok":false}`) {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestLoadAuth(t *testing.T) {
	if auth, err := admin.LoadAuth(admin.AuthOptions{TrustedProxies: []string{"10.0.0.1"}}); auth != nil || err != nil {
		t.Errorf("nothing that lets anybody in: got %v, %v", auth, err)
	}
	hash, sum := hashOf(t, "x"), strings.Repeat("ab", sha256.Size)
	tests := []struct {
		name, users, tokens string
		change              func(*admin.AuthOptions)
		want                string
	}{
		{"hash of another kind", "a:" + hash + "\nb:$apr1$xyz$hunter2", "", nil, `:2: the hash of "b" is in bcrypt`},
		{"password as it is", "a:hunter2", "", nil, "in bcrypt"},
		{"role", "a:" + hash + ":root", "", nil, "viewer, operator or editor"},
		{"no name", ":" + hash, "", nil, "begins with a name"},
		{"odd name", "a\x1bb:" + hash, "", nil, "begins with a name"},
		{"user twice", "a:" + hash + "\na:" + hash, "", nil, `"a" is there twice`},
		{"endless work", "a:" + strings.Replace(hash, "$04$", "$31$", 1), "", nil, "at most 14"},
		{"token as it is", "", "ci:hunter2:viewer", nil, "SHA-256"},
		{"token twice", "", "ci:" + sum + "\ncd:" + sum, nil, "twice"},
		{"no such file", "", "", func(o *admin.AuthOptions) { o.UsersFile = "/nowhere/users" }, "read the users"},
		{"header of anybody", "", "", func(o *admin.AuthOptions) { o.TrustedHeader = "X-User" }, "--admin-trusted-proxies"},
		{"no CIDR", "", "", func(o *admin.AuthOptions) { o.TrustedHeader, o.TrustedProxies = "X-User", []string{"proxy"} }, `"proxy"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := admin.AuthOptions{UsersFile: write(t, test.users), TokensFile: write(t, test.tokens)}
			if test.change != nil {
				test.change(&o)
			}
			_, err := admin.LoadAuth(o)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestAnyHostNameOnceItAsks(t *testing.T) {
	s := guarded(t, staff(t), nil)
	header := bearer("vera")
	header.Set("Host", "relay.example.com")
	if got := s.do("GET", "/api/v1/routes", "", header); got.status != http.StatusOK {
		t.Errorf("got %d", got.status)
	}
}

package admin

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"relay/dlqstore"
)

// pages are the templates, parsed once: each page's file together with the layout.
type pages struct {
	overview, deadLetters, deadLetter, edit, route, choose, replays, job, audit, login, problem *template.Template
}

func newPages(a *assets, base string) (*pages, error) {
	funcs := template.FuncMap{"asset": a.path, "cols": cols, "link": func(path string) string { return base + path }}
	var failed []error
	parse := func(name string) *template.Template {
		t, err := template.New("layout.html").Funcs(funcs).
			ParseFS(files, "templates/layout.html", "templates/parts.html", "templates/"+name)
		if err != nil {
			failed = append(failed, fmt.Errorf("parse page %s: %w", name, err))
		}
		return t
	}
	p := &pages{
		overview:    parse("overview.html"),
		deadLetters: parse("dead_letters.html"),
		deadLetter:  parse("dead_letter.html"),
		route:       parse("route.html"),
		edit:        parse("edit.html"),
		replays:     parse("replays.html"),
		job:         parse("job.html"),
		choose:      parse("choose.html"),
		audit:       parse("audit.html"),
		login:       parse("login.html"),
		problem:     parse("problem.html"),
	}
	return p, errors.Join(failed...)
}

// frame is what the layout shows around every page.
type frame struct {
	Title   string
	Section string // the entry of the navigation that is current
	Version string
	Notice  *notice

	User       string // who asks; empty: nobody has to say
	FormToken  string // for every form; empty: there is no session that one could end
	MayOperate bool
}

// notice tells the result of what was just done.
type notice struct {
	Text     string
	LinkText string
	Link     string
}

func (s *Server) frame(r *http.Request, title, section string) frame {
	c := callerOf(r)
	f := frame{Title: title, Section: section, Version: s.opts.Version, FormToken: c.formToken, MayOperate: c.role >= operator}
	if s.opts.Auth != nil {
		f.User = visible(c.name)
	}
	return f
}

// page makes a handler of a function that answers with a page or returns an error.
func (s *Server) page(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return s.pageUpTo(maxBodyBytes, h)
}

// pageUpTo is page for forms of up to that many bytes.
func (s *Server) pageUpTo(limit int64, h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, cancel := limitTime(r)
		defer cancel()
		s.answer(w, r, limit, h)
	}
}

// stream is page for answers that go on for as long as they take.
func (s *Server) stream(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, maxBodyBytes, h) }
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, limit int64, h func(http.ResponseWriter, *http.Request) error) {
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	err := checkForm(r)
	if err == nil {
		err = h(w, r)
	}
	if err != nil {
		s.refuse(w, r, s.problemOf(err))
	}
}

func render(w http.ResponseWriter, t *template.Template, status int, view any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, view); err != nil {
		return &problem{http.StatusInternalServerError, "internal", "relay could not draw this page; its log says more", err}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
	return nil
}

type problemView struct {
	frame
	Status  int
	Heading string
	Message string
	Back    string
}

func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, p *problem) {
	view := problemView{
		frame:  s.frame(r, http.StatusText(p.status), ""),
		Status: p.status, Heading: http.StatusText(p.status), Message: sentence(p.message), Back: "/",
	}
	if r.Method == http.MethodPost {
		view.Heading = "That was not done"
		view.Back = backPath(r)
	}
	if err := render(w, s.pages.problem, p.status, view); err != nil {
		s.log.Error("draw the error page", "err", err)
		http.Error(w, p.message, p.status)
	}
}

// sentence makes one of an error's text.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// Paths of the pages.
func routePath(name string) string    { return "/routes/" + url.PathEscape(name) }
func deadLetterPath(id string) string { return "/dead-letters/" + url.PathEscape(id) }
func openLettersPath(route string) string {
	return "/dead-letters?" + url.Values{"route": {route}}.Encode()
}

// The parameters with which an action sends the browser back to say what was done.
const (
	noticeParam = "done"
	aboutParam  = "about"
)

// goBack ends an action: the browser goes back to the page that the form was on, and
// is told there what was done.
func (s *Server) goBack(w http.ResponseWriter, r *http.Request, done, about string) {
	u, err := url.Parse(backPath(r))
	if err != nil {
		u = &url.URL{Path: "/"}
	}
	q := u.Query()
	q.Set(noticeParam, done)
	q.Set(aboutParam, about)
	u.RawQuery = q.Encode()
	s.redirect(w, r, u.String())
}

// redirect ends an action: the browser gets the page at a path of ours.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, s.opts.BasePath+path, http.StatusSeeOther) //nolint:gosec // callers give paths of ours only
}

// backPath is the page that the form of an action stood on: the list or the job that
// it names, or the page of the thing itself. Nothing else, wherever a form claims to
// be from.
func backPath(r *http.Request) string {
	back := r.PostFormValue("back")
	if strings.HasPrefix(r.URL.Path, replaysPath) {
		if jobPattern.MatchString(back) {
			return back
		}
		return replaysPath
	}
	if list := ownList(back); list != "" {
		return list
	}
	if i := strings.LastIndexByte(r.URL.Path, '/'); i > 0 && r.Method == http.MethodPost {
		return listPath(path.Clean(r.URL.Path[:i]), url.Values{"list": {r.PostFormValue("list")}}, "", "")
	}
	return "/"
}

var jobPattern = regexp.MustCompile(`^/replays/rpl_[a-z2-7]+$`)

// ownList returns a path if it is one of the list of dead letters, else nothing.
func ownList(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Path != listOfDead {
		return ""
	}
	return u.RequestURI()
}

// noticeOf turns the parameters of goBack into words. The words are ours whatever
// the parameters hold.
func noticeOf(q url.Values) *notice {
	done, about := q.Get(noticeParam), q.Get(aboutParam)
	if text := map[string]string{
		"paused":        "Paused. Nothing is delivered on this route until you resume it.",
		"resumed":       "Resumed.",
		"job-started":   "Started. The page tells how far it is.",
		"job-paused":    "Paused. What is in flight goes on.",
		"rate-changed":  "Changed. The new rate holds from now on.",
		"job-cancelled": "Cancelled. What is in flight goes on; the rest stays dead.",
	}[done]; text != "" {
		return &notice{Text: text}
	}
	if n, err := strconv.Atoi(about); err == nil {
		switch done {
		case "discarded":
			return &notice{Text: "Discarded " + count(n, "dead letter") + ". They can be restored."}
		case "restored":
			return &notice{Text: "Restored " + count(n, "dead letter") + ". They are open again."}
		}
	}
	text := map[string]string{
		"replaying": "Replay started. The outcome shows as soon as the receiver has answered.",
		"discarded": "Discarded. It can be restored.",
		"restored":  "Restored. It is open again.",
		"edited":    "This copy is on its way. The original is discarded:",
	}[done]
	if text == "" || !idPattern.MatchString(about) {
		return nil
	}
	return &notice{Text: text, LinkText: about, Link: deadLetterPath(about)}
}

// badge is a state in a word and an icon, so that it does not hang on colour.
type badge struct {
	Word string
	Tone string // ok, busy, warn, bad or quiet: a class of the style sheet
	Icon string // of templates/parts.html
}

// badgeOf is that of a state. One that a later relay may have stands as it is.
func badgeOf[S ~string](state S, known map[S]badge) badge {
	if b, ok := known[state]; ok {
		return b
	}
	return badge{visible(string(state)), "quiet", "dots"}
}

func stateBadge(s dlqstore.State) badge {
	return badgeOf(s, map[dlqstore.State]badge{
		dlqstore.Dead:      {"Dead", "bad", "cross"},
		dlqstore.Replaying: {"Replaying", "busy", "replay"},
		dlqstore.Delivered: {"Delivered", "ok", "check"},
		dlqstore.Discarded: {"Discarded", "quiet", "minus"},
	})
}

func routeBadge(s RouteState) badge {
	return badgeOf(s, map[RouteState]badge{
		StateStarting:              {"Starting", "busy", "dots"},
		StateRunning:               {"Running", "ok", "check"},
		StatePaused:                {"Paused", "warn", "pause"},
		StateDisabled:              {"Disabled", "quiet", "minus"},
		StateBreakerOpen:           {"Breaker open", "warn", "alert"},
		StateWaitingForStream:      {"Waiting for stream", "bad", "alert"},
		StateMisconfigured:         {"Misconfigured", "bad", "cross"},
		StateDeadLetterUnavailable: {"Dead letters unavailable", "bad", "alert"},
		StateRecovering:            {"Recovering", "warn", "replay"},
		StateOrphan:                {"Orphan consumer", "warn", "alert"},
	})
}

// moment is a point in time as pages show it.
type moment struct {
	ISO, Exact, Ago string
}

func (s *Server) moment(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{ISO: t.Format(time.RFC3339Nano), Exact: t.Format("2006-01-02 15:04:05.000 UTC"), Ago: ago(s.now().Sub(t))}
}

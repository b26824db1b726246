package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"relay/dlqstore"
)

type deadLettersView struct {
	frame
	Form    filterForm
	Tabs    []tab
	Rows    []deadLetterRow
	Count   string // of all that the filter chooses
	Wrong   string // what is wrong with the filter
	Filters bool   // whether anything but the state is chosen
	// ShowState is set when the rows may differ in it.
	ShowState bool
	Here      string // the list as it stands, for the forms in it
	Newest    string // path of the first page; empty: this is it
	Older     string // path of the next page; empty: this is the last
	ReplayAll string // path of the form that replays all that the filter chooses
}

// filterForm is the filter as it was typed.
type filterForm struct {
	Route, Subject, Reason, Status, State, Query, Since, Until, Fingerprint string
	Routes                                                                  []choice
	Reasons                                                                 []choice
	Ages                                                                    []choice
}

type choice struct {
	Value, Text string
	Chosen      bool
}

type tab struct {
	Text, Path string
	Current    bool
}

type deadLetterRow struct {
	ID, Path          string
	Route, RoutePath  string
	Subject           string
	State             badge
	Reason, Cause     string
	Attempts          string
	FailedAt          moment
	CanReplay, Marked bool
}

// stateAll is the state parameter's word for all of them; without one the page
// lists what waits for somebody.
const stateAll = "all"

func (s *Server) deadLettersPage(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	view := deadLettersView{frame: s.frame(r, "Dead letters", "dead-letters"), Form: s.filterForm(query)}
	view.Notice = noticeOf(query)
	about := query.Get(aboutParam)
	query.Del(noticeParam)
	query.Del(aboutParam)
	view.Tabs, view.ShowState = tabs(query, view.Form.State), view.Form.State == stateAll
	view.Here, view.Filters = listPath(query, "cursor", query.Get("cursor")), hasFilters(query)

	filter, page, err := parseFilter(storeQuery(query), s.now())
	if err != nil {
		view.Wrong = sentence(err.Error())
		return render(w, s.pages.deadLetters, http.StatusBadRequest, view)
	}
	list, err := s.opts.Store.List(r.Context(), filter, page)
	if err != nil {
		return err
	}
	total, err := s.opts.Store.Count(r.Context(), filter)
	if err != nil {
		return err
	}
	view.Count = foundText(total, list.SearchedTo)
	if view.MayOperate && filter.State == dlqstore.Dead && total > 0 {
		view.ReplayAll = "/replays/new?" + chosen(query).Encode()
	}
	if page.Cursor != "" {
		view.Newest = listPath(query, "cursor", "")
	}
	if list.Next != "" {
		view.Older = listPath(query, "cursor", list.Next)
	}
	for _, d := range list.DeadLetters {
		row := s.deadLetterRow(d)
		row.Marked, row.CanReplay = d.ID == about, view.MayOperate && d.State == dlqstore.Dead
		view.Rows = append(view.Rows, row)
	}
	return render(w, s.pages.deadLetters, http.StatusOK, view)
}

// storeQuery is the page's query with its own words for the state put into the store's.
func storeQuery(query url.Values) url.Values {
	q := maps.Clone(query)
	switch q.Get("state") {
	case "":
		q.Set("state", string(dlqstore.Dead))
	case stateAll:
		q.Del("state")
	}
	return q
}

// foundText says how many there are, and how far a search for text looked.
func foundText(n int, searchedTo time.Time) string {
	text := count(n, "dead letter")
	if n > dlqstore.MaxCount {
		text = "more than " + count(dlqstore.MaxCount, "dead letter")
	}
	if !searchedTo.IsZero() {
		return "since " + searchedTo.UTC().Format("2006-01-02 15:04:05 UTC") + ", " + text // older ones are on the next page
	}
	return text
}

func hasFilters(query url.Values) bool {
	return slices.ContainsFunc([]string{"route", "subject", "reason", "status", "q", "since", "until", "fingerprint"},
		func(name string) bool { return query.Get(name) != "" })
}

// listPath is the list with one parameter changed and the empty ones left out.
func listPath(query url.Values, name, value string) string {
	q := url.Values{}
	for n, values := range query {
		if n != name && values[0] != "" {
			q[n] = values[:1]
		}
	}
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return "/dead-letters"
	}
	return "/dead-letters?" + q.Encode()
}

func tabs(query url.Values, current string) []tab {
	first := maps.Clone(query)
	first.Del("cursor")
	list := []tab{{Text: "Open", Path: listPath(first, "state", ""), Current: current == string(dlqstore.Dead)}}
	for _, state := range states()[1:] {
		list = append(list, tab{stateBadge(state).Word, listPath(first, "state", string(state)), current == string(state)})
	}
	return append(list, tab{"All", listPath(first, "state", stateAll), current == stateAll})
}

func (s *Server) filterForm(q url.Values) filterForm {
	f := filterForm{
		Route: q.Get("route"), Subject: q.Get("subject"), Reason: q.Get("reason"), Status: q.Get("status"),
		State: q.Get("state"), Query: q.Get("q"), Since: q.Get("since"), Until: q.Get("until"), Fingerprint: q.Get("fingerprint"),
	}
	if f.State == "" {
		f.State = string(dlqstore.Dead)
	}
	var names []string
	for _, r := range s.opts.Routes.Routes() {
		names = append(names, r.Name)
	}
	f.Routes = choices(names, f.Route)
	var words []string
	for _, r := range reasons() {
		words = append(words, string(r))
	}
	f.Reasons = choices(words, f.Reason)
	f.Ages = choices([]string{"1h", "24h", "7d"}, f.Since)
	for i, text := range []string{"the last hour", "the last 24 hours", "the last 7 days"} {
		f.Ages[i].Text = text
	}
	return f
}

// choices makes the options of a select; what is chosen is one of them, even when it
// is a route that the routes file no longer has.
func choices(values []string, chosen string) []choice {
	if chosen != "" && !slices.Contains(values, chosen) {
		values = append(values, chosen)
	}
	list := make([]choice, len(values))
	for i, v := range values {
		list[i] = choice{v, visible(v), v == chosen}
	}
	return list
}

func (s *Server) deadLetterRow(d dlqstore.DeadLetter) deadLetterRow {
	return deadLetterRow{
		ID: d.ID, Path: deadLetterPath(d.ID), Route: visible(d.Route), RoutePath: routePath(d.Route),
		Subject: visible(d.OriginalSubject), State: stateBadge(d.State), Reason: visible(string(d.Reason)),
		Cause: cut(visible(causeText(d)), 160), Attempts: digits(d.RetryCount), FailedAt: s.moment(d.FailedAt),
	}
}

// causeText is what the last attempt came to.
func causeText(d dlqstore.DeadLetter) string {
	if d.Status != 0 {
		return statusText(d.Status)
	}
	return d.Error
}

// statusText is an HTTP status with its words: 404 Not Found.
func statusText(status int) string {
	if words := http.StatusText(status); words != "" {
		return strconv.Itoa(status) + " " + words
	}
	return strconv.Itoa(status)
}

func (s *Server) replayPage(w http.ResponseWriter, r *http.Request) error {
	id, err := formOf(r)
	if err != nil {
		return err
	}
	if _, err := s.replay(r.Context(), id, nil, actor(r)); err != nil {
		return err
	}
	goBack(w, r, "replaying", id)
	return nil
}

func (s *Server) discardPage(w http.ResponseWriter, r *http.Request) error {
	id, err := formOf(r)
	if err != nil {
		return err
	}
	reason := r.PostForm.Get("reason")
	if err := checkText("reason", reason); err != nil {
		return err
	}
	if err := s.opts.Store.Discard(r.Context(), id, reason, actor(r)); err != nil {
		return err
	}
	goBack(w, r, "discarded", id)
	return nil
}

func (s *Server) restorePage(w http.ResponseWriter, r *http.Request) error {
	id, err := formOf(r)
	if err != nil {
		return err
	}
	if err := s.opts.Store.Restore(r.Context(), id, actor(r)); err != nil {
		return err
	}
	goBack(w, r, "restored", id)
	return nil
}

// formOf reads the form of an action and returns the dead letter's id.
func formOf(r *http.Request) (string, error) {
	if err := parseForm(r); err != nil {
		return "", err
	}
	return deadLetterID(r)
}

package admin

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"relay/dlqstore"
)

type deadLettersView struct {
	frame
	Form    filterForm
	Tabs    []tab
	Rows    []deadLetterRow
	Count   string // of all that the filter chooses
	Total   string // the same as a number
	Wrong   string // what is wrong with the filter
	Filters bool   // whether anything but the state is chosen
	// ShowState is set when the rows may differ in it.
	ShowState bool
	Here      string // the list as it stands, for the forms in it
	Pager     pager
	Chosen    []choice // the filter as hidden fields
	Acts      []act    // what may be done with what is chosen
}

// act is something to do with many dead letters.
type act struct {
	Value, Text, Icon string
}

// filterForm is the filter as it was typed.
type filterForm struct {
	Route, Subject, Reason, Status, Attempts, State, Query, Since, Until, Fingerprint string
	Routes                                                                            []choice
	Reasons                                                                           []choice
	Ages                                                                              []choice
}

type deadLetterRow struct {
	ID, Path          string // Path knows the list that it is in
	Self              string // the path of the dead letter
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
	view.Tabs, view.ShowState = stateTabs(query, view.Form.State), view.Form.State == stateAll
	view.Here, view.Filters = listPath(listOfDead, query, "", ""), hasFilters(query)

	filter, page, err := parseFilter(storeQuery(query), s.now())
	if err != nil {
		view.Wrong = sentence(err.Error())
		return render(w, s.pages.deadLetters, http.StatusBadRequest, view)
	}
	page.Brief = true
	list, err := s.opts.Store.List(r.Context(), filter, page)
	if err != nil {
		return err
	}
	total, err := s.opts.Store.Count(r.Context(), filter)
	if err != nil {
		return err
	}
	view.Count, view.Total = foundText(total, list.SearchedTo), atMost(total)
	view.Pager = pagerOf(listOfDead, query, list.Next)
	view.Chosen = append(fields(chosen(query)), choice{Value: view.Form.State, Text: "state"}, choice{Value: view.Here, Text: "back"})
	if view.MayOperate {
		view.Acts = actsOn(view.Form.State)
	}
	from := url.Values{"list": {strings.TrimPrefix(strings.TrimPrefix(view.Here, listOfDead), "?")}}
	for _, d := range list.DeadLetters {
		row := s.deadLetterRow(d)
		row.Path += "?" + from.Encode()
		row.Marked, row.CanReplay = d.ID == about, view.MayOperate && d.State == dlqstore.Dead
		view.Rows = append(view.Rows, row)
	}
	return render(w, s.pages.deadLetters, http.StatusOK, view)
}

// listOfDead is the path of the list of dead letters.
const listOfDead = "/dead-letters"

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
	text := atMost(n) + " dead letters"
	if n == 1 {
		text = "1 dead letter"
	}
	if !searchedTo.IsZero() {
		return "since " + searchedTo.UTC().Format("2006-01-02 15:04:05 UTC") + ", " + text // older ones are on the next page
	}
	return text
}

func hasFilters(query url.Values) bool {
	return slices.ContainsFunc([]string{"route", "subject", "reason", "status", "min_attempts", "q", "since", "until", "fingerprint"},
		func(name string) bool { return query.Get(name) != "" })
}

// atMost is a number that Count has counted.
func atMost(n int) string {
	if n > dlqstore.MaxCount {
		return "more than " + digits(dlqstore.MaxCount)
	}
	return digits(n)
}

func stateTabs(query url.Values, current string) []tab {
	words := []choice{{Text: "Open", Chosen: current == string(dlqstore.Dead)}}
	for _, state := range states()[1:] {
		words = append(words, choice{string(state), stateBadge(state).Word, current == string(state)})
	}
	return tabsOf(listOfDead, query, append(words, choice{stateAll, "All", current == stateAll}))
}

func (s *Server) filterForm(q url.Values) filterForm {
	f := filterForm{
		Route: q.Get("route"), Subject: q.Get("subject"), Reason: q.Get("reason"), Status: q.Get("status"), Attempts: q.Get("min_attempts"),
		State: q.Get("state"), Query: q.Get("q"), Since: q.Get("since"), Until: q.Get("until"), Fingerprint: q.Get("fingerprint"),
	}
	if f.State == "" {
		f.State = string(dlqstore.Dead)
	}
	f.Routes, f.Reasons, f.Ages = choices(s.routeNames(), f.Route), choices(reasons(), f.Reason), ages(f.Since)
	return f
}

func (s *Server) routeNames() []string {
	var names []string
	for _, r := range s.opts.Routes.Routes() {
		names = append(names, r.Name)
	}
	return names
}

func (s *Server) deadLetterRow(d dlqstore.DeadLetter) deadLetterRow {
	return deadLetterRow{
		ID: d.ID, Path: deadLetterPath(d.ID), Self: deadLetterPath(d.ID), Route: cut(visible(d.Route), maxCell), RoutePath: routePath(d.Route),
		Subject: cut(visible(d.OriginalSubject), maxCell), State: stateBadge(d.State), Reason: visible(string(d.Reason)),
		Cause: cut(visible(causeText(d)), maxCell), Attempts: digits(d.RetryCount), FailedAt: s.moment(d.FailedAt),
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

// actPage makes a handler that does something to a dead letter and goes back.
func (s *Server) actPage(done string, do func(r *http.Request, id string) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := parseForm(r); err != nil {
			return err
		}
		id, err := deadLetterID(r)
		if err != nil {
			return err
		}
		if err := do(r, id); err != nil {
			return err
		}
		s.goBack(w, r, done, id)
		return nil
	}
}

func (s *Server) replayOne(r *http.Request, id string) error {
	_, err := s.replay(r.Context(), id, nil, actor(r))
	return err
}

func (s *Server) discardOne(r *http.Request, id string) error {
	reason := r.PostForm.Get("reason")
	if err := checkText("reason", reason); err != nil {
		return err
	}
	return s.opts.Store.Discard(r.Context(), id, reason, actor(r))
}

func (s *Server) restoreOne(r *http.Request, id string) error {
	return s.opts.Store.Restore(r.Context(), id, actor(r))
}

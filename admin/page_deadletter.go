package admin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"relay/dlqstore"
)

type deadLetterView struct {
	frame
	ID, Subject      string
	Route, RoutePath string
	State            badge
	Story            string // what happened, in a sentence
	Facts            []factView
	Lives            []lifeView
	Payload          payloadView
	Headers          []headerView
	Response         string
	ResponseNote     string
	CanReplay        bool
	CanEdit          bool
	CanRestore       bool
	Replaying        bool
	Path             string
	Trail            []auditRow // what was done to it, newest first
	MoreTrail        string     // path of all of it; empty: that is all
	List             string     // the query of the list that it was come to from
	Back             string     // path of that list
	Previous, Next   string     // paths of those beside it in that list; empty: none
	Curl             string     // a command that sends the payload as relay would
}

type factView struct {
	Name, Value, Link string
	Time              *moment
}

// lifeView are the attempts of a delivery, or of one replay of it.
type lifeView struct {
	Name     string
	Attempts []attemptView
}

type attemptView struct {
	Number  string
	At      moment
	Outcome string
	Detail  string
	Took    string
	Tone    string
	Icon    string
	Headers []headerView // of the answer
	Body    string
}

type payloadView struct {
	Size, Text, Note string
	Folded           bool
	Download         string
	Views            []tab
}

type headerView struct {
	Name, Value string
}

func (s *Server) deadLetterPage(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deadLetter(r)
	if err != nil {
		return err
	}
	view := deadLetterView{
		frame: s.frame(r, d.ID, "dead-letters"), ID: d.ID, Path: deadLetterPath(d.ID),
		Subject: cut(visible(d.OriginalSubject), maxCell), Route: cut(visible(d.Route), maxCell), RoutePath: routePath(d.Route),
		State: stateBadge(d.State), Story: story(d), Facts: s.facts(d),
		Lives: s.lives(d.Attempts), Payload: payloadOf(d, r.URL.Query()), Headers: headersOf(d.Headers),
		Replaying: d.State == dlqstore.Replaying,
	}
	if view.Trail, view.MoreTrail, err = s.trail(r.Context(), d.ID); err != nil {
		return err
	}
	view.CanReplay = view.MayOperate && d.State == dlqstore.Dead
	view.CanRestore = view.MayOperate && d.State == dlqstore.Discarded
	view.Response, view.ResponseNote = responseView(d.Response)
	view.Curl = s.curl(d)
	for _, row := range view.Trail {
		if row.Copy != "" {
			view.Facts = append(view.Facts, factView{Name: "Edited copy", Value: row.Copy, Link: row.CopyPath})
		}
	}
	if err := s.beside(r, &view, d); err != nil {
		return err
	}
	view.CanEdit = view.CanReplay && callerOf(r).role >= editor
	if view.Notice = noticeOf(r.URL.Query()); view.Notice != nil && view.Notice.LinkText == d.ID {
		view.Notice.Link = "" // this is the page
	}
	return render(w, s.pages.deadLetter, http.StatusOK, view)
}

// beside finds the neighbours in the list that the page was come to from.
func (s *Server) beside(r *http.Request, view *deadLetterView, d dlqstore.DeadLetter) error {
	view.Back = listOfDead
	query, err := url.ParseQuery(r.URL.Query().Get("list"))
	if err != nil || !r.URL.Query().Has("list") {
		return nil //nolint:nilerr // a list that cannot be read is none
	}
	view.Back, view.List = listPath(listOfDead, query, "", ""), r.URL.Query().Get("list")
	filter, page, err := parseFilter(storeQuery(query), s.now())
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	page.Brief = true
	list, err := s.opts.Store.List(r.Context(), filter, page)
	if errors.Is(err, dlqstore.ErrCursor) {
		return nil
	}
	if err != nil {
		return err
	}
	path := func(id string, query url.Values) string {
		return deadLetterPath(id) + "?" + url.Values{"list": {query.Encode()}}.Encode()
	}
	at := slices.IndexFunc(list.DeadLetters, func(one dlqstore.DeadLetter) bool { return one.ID == d.ID })
	if at > 0 {
		view.Previous = path(list.DeadLetters[at-1].ID, query)
	}
	switch {
	case at >= 0 && at < len(list.DeadLetters)-1:
		view.Next = path(list.DeadLetters[at+1].ID, query)
		return nil
	case at >= 0 && list.Next == "":
		return nil
	case at >= 0:
		query.Set("cursor", list.Next)
		page.Cursor = list.Next
	default: // it is no longer in the list: the next is the next older one
		page.Cursor = ""
		if filter.Until.IsZero() || d.FailedAt.Before(filter.Until) {
			filter.Until = d.FailedAt
		}
	}
	page.Limit = 1
	if list, err = s.opts.Store.List(r.Context(), filter, page); err != nil {
		return err
	}
	if len(list.DeadLetters) > 0 {
		view.Next = path(list.DeadLetters[0].ID, query)
	}
	return nil
}

// maxCurlBytes is how much of a payload stands in the command itself.
const maxCurlBytes = 8 << 10

// curl is the command that sends the payload as relay would, but for signature and
// credentials, which nobody gets from here. Empty: the route is gone.
func (s *Server) curl(d dlqstore.DeadLetter) string {
	route, err := s.route(d.Route)
	if err != nil || route.URL == "" {
		return ""
	}
	contentType, extension := payloadType(d.Headers)
	data := "@" + d.ID + extension // the download
	if len(d.Payload) <= maxCurlBytes && plain(string(d.Payload), "\n\t") && !strings.HasPrefix(string(d.Payload), "@") {
		data = string(d.Payload)
	}
	return "curl -X POST " + quote(route.URL) + " -H " + quote("Content-Type: "+contentType) + " -H " + quote("webhook-id: "+d.ID) +
		" --data-binary " + quote(data)
}

// quote makes one word of a text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// story says in a sentence or two what happened.
func story(d dlqstore.DeadLetter) string {
	answer := "the last one got no answer"
	if d.Status != 0 {
		answer = "the last one was answered with " + statusText(d.Status)
	}
	tries := count(d.RetryCount, "attempt")
	var what string
	switch d.Reason {
	case dlqstore.Exhausted:
		what = fmt.Sprintf("relay stopped after %s, as many as the route allows; %s.", tries, answer)
	case dlqstore.Expired:
		what = fmt.Sprintf("relay stopped after %s, because the message had grown older than the route allows; %s.", tries, answer)
	case dlqstore.Rejected:
		what = fmt.Sprintf("The receiver answered %s with %s, which on this route means that sending it again would not help.",
			ordinalAttempt(d.RetryCount), statusText(d.Status))
	case dlqstore.Aborted:
		what = fmt.Sprintf("The receiver answered %s with %s and asked not to be sent this message again.",
			ordinalAttempt(d.RetryCount), statusText(d.Status))
	case dlqstore.Oversize:
		what = "The message cannot be sent as it is: it is too large."
	case dlqstore.Poison:
		what = "relay could not work on this message without failing itself, and put it aside."
	case dlqstore.Blocked:
		what = "The webhook's address is one that the route's egress rule forbids, so that nothing was sent."
	default:
		what = "The delivery failed."
	}
	return sentence(what) + after(d)
}

func ordinalAttempt(n int) string {
	if n <= 1 {
		return "the first attempt"
	}
	return fmt.Sprintf("attempt %d", n)
}

// after says what has become of it since.
func after(d dlqstore.DeadLetter) string {
	switch d.State {
	case dlqstore.Replaying:
		return " A replay is under way."
	case dlqstore.Delivered:
		return " A replay has delivered it since."
	case dlqstore.Discarded:
		return " It was discarded since: nothing will be sent unless it is restored."
	}
	if d.ReplayCount > 0 {
		return fmt.Sprintf(" It has been replayed %s since, without success.", times(d.ReplayCount))
	}
	return ""
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return digits(n) + " times"
}

func (s *Server) facts(d dlqstore.DeadLetter) []factView {
	failed, published := s.moment(d.FailedAt), s.moment(d.PublishedAt)
	list := []factView{
		{Name: "Subject", Value: visible(d.OriginalSubject)},
		{Name: "Route", Value: visible(d.Route), Link: routePath(d.Route)},
		{Name: "Reason", Value: visible(string(d.Reason))},
		{Name: "Failed", Time: &failed},
		{Name: "Published", Time: &published},
		{Name: "Attempts", Value: digits(d.RetryCount)},
		{Name: "Stream", Value: fmt.Sprintf("%s, sequence %s", visible(d.Stream), digits(d.StreamSequence))},
		{Name: "Consumer", Value: visible(d.ConsumerName)},
		{Name: "ID", Value: d.ID},
	}
	if d.ReplayCount > 0 {
		list = append(list, factView{Name: "Replays", Value: digits(d.ReplayCount)})
	}
	if d.ChangedBy != "" {
		changed := s.moment(d.ChangedAt)
		list = append(list, factView{Name: "Changed by", Value: visible(d.ChangedBy)}, factView{Name: "Changed", Time: &changed})
	}
	if d.DiscardReason != "" {
		list = append(list, factView{Name: "Discarded because", Value: visible(d.DiscardReason)})
	}
	if idPattern.MatchString(d.ReplayOf) {
		list = append(list, factView{Name: "Edited copy of", Value: d.ReplayOf, Link: deadLetterPath(d.ReplayOf)})
	}
	return list
}

// lives groups attempts, which come oldest first, by replay.
func (s *Server) lives(attempts []dlqstore.Attempt) []lifeView {
	var list []lifeView
	last := -1
	for _, a := range attempts {
		if a.Replay != last {
			name := "First delivery"
			if a.Replay > 0 {
				name = fmt.Sprintf("Replay %d", a.Replay)
			}
			list = append(list, lifeView{Name: name})
			last = a.Replay
		}
		life := &list[len(list)-1]
		life.Attempts = append(life.Attempts, s.attemptView(a))
	}
	return list
}

func (s *Server) attemptView(a dlqstore.Attempt) attemptView {
	v := attemptView{
		Number: digits(a.Number), At: s.moment(a.At), Took: took(a.Duration), Outcome: "No answer",
		Detail: visible(a.Error), Tone: "bad", Icon: "cross",
	}
	if a.Status != 0 {
		v.Outcome = statusText(a.Status)
		if strings.HasSuffix(a.Error, v.Outcome) {
			v.Detail = "" // it says no more than the status
		}
		if text, ok := responseText(a.Response); ok && v.Detail == "" {
			v.Detail = cut(visible(strings.TrimSpace(text)), maxCell)
		}
	}
	v.Headers = headersOf(a.ResponseHeaders)
	v.Body, _ = responseView(a.Response)
	if a.Verdict == "ack" || a.Verdict == "drop" {
		v.Tone, v.Icon = "ok", "check"
	}
	return v
}

// Bounds of what a page shows of a payload; the download has all of it.
const (
	maxShownBytes = 256 << 10
	maxHexBytes   = 16 << 10
)

// payloadOf shows a payload as asked for: pretty (JSON only), text or hex.
func payloadOf(d dlqstore.DeadLetter, query url.Values) payloadView {
	ask := query.Get("view")
	v := payloadView{Size: size(len(d.Payload)), Download: "/api/v1" + deadLetterPath(d.ID) + "/payload"}
	shown := d.Payload
	if len(shown) > maxShownBytes {
		shown = shown[:maxShownBytes]
		v.Note, v.Folded = "Only the first "+size(maxShownBytes)+" are shown. The download has all of it.", true
	}
	pretty, isPretty := "", false
	if len(d.Payload) <= maxShownBytes {
		pretty, isPretty = prettyJSON(d.Payload)
	}
	modes := []string{"text", "hex"}
	if isPretty {
		modes = append([]string{"pretty"}, modes...)
	}
	if !slices.Contains(modes, ask) {
		ask = modes[0]
		if !isPretty && !utf8.Valid(d.Payload) {
			ask = "hex"
		}
	}
	switch ask {
	case "pretty":
		v.Text = visibleText(pretty)
	case "text":
		v.Text = visibleText(string(shown))
	case "hex":
		if len(shown) > maxHexBytes {
			shown = shown[:maxHexBytes]
			v.Note = "Only the first " + size(maxHexBytes) + " are shown. The download has all of it."
		}
		v.Text = hex.Dump(shown)
	}
	for _, mode := range modes {
		v.Views = append(v.Views, tab{
			Text: strings.ToUpper(mode[:1]) + mode[1:], Current: mode == ask,
			Path: listPath(deadLetterPath(d.ID), url.Values{"list": {query.Get("list")}}, "view", mode) + "#payload",
		})
	}
	return v
}

// responseView shows the start of the last answer's body.
func responseView(body []byte) (text, note string) {
	text, ok := responseText(body)
	if !ok {
		return hex.Dump(body), "The answer is no text; these are its bytes."
	}
	if len(body) >= dlqstore.MaxResponseBytes {
		note = "Only the first " + size(dlqstore.MaxResponseBytes) + " of the answer were kept."
	}
	if pretty, isJSON := prettyJSON(body); isJSON {
		text = pretty
	}
	return visibleText(text), note
}

package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"relay/dlqstore"
)

// What can be done with many dead letters.
const (
	doReplay  = "replay"
	doDiscard = "discard"
	doRestore = "restore"
)

// actsOn are those that make sense on a list of that state.
func actsOn(state string) []act {
	all := []act{{doReplay, "Replay…", "replay"}, {doDiscard, "Discard…", "minus"}, {doRestore, "Restore…", "undo"}}
	switch state {
	case string(dlqstore.Dead):
		return all[:2]
	case string(dlqstore.Discarded):
		return all[2:]
	case stateAll:
		return all
	default:
		return nil
	}
}

// chooseView asks for a confirmation: how many, which, and where they go.
type chooseView struct {
	frame
	Do      string
	Wrong   string
	Count   string // empty: there are none
	What    string
	Targets []targetView
	Samples []deadLetterRow
	Chosen  []choice // the choice, to send it along
	Back    string   // the list that it comes from
	// As typed.
	Rate, Limit, StopAfter, Why string
	Ramp                        bool
}

// targetView is a route, and how many of what is chosen are its own.
type targetView struct {
	Count, Route, URL string
}

// choosePage takes what was chosen on a list, and asks whether it is meant.
func (s *Server) choosePage(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	form, err := s.choiceOf(r.PostForm)
	if err != nil {
		return err
	}
	do, err := oneOf("do", r.PostForm.Get("do"), []string{doReplay, doDiscard, doRestore})
	if err != nil {
		return err
	}
	if do == doReplay {
		pace(form)
	}
	return s.ask(w, r, do, form, nil)
}

// newReplaysPage asks the same of a filter in the address.
func (s *Server) newReplaysPage(w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	if len(form["rate"]) == 0 { // not typed yet
		pace(form)
	}
	return s.ask(w, r, doReplay, form, nil)
}

// pace fills in the pace that is gentle to a receiver that has just come back.
func pace(form url.Values) {
	form.Set("rate", "50")
	form.Set("stop_after", "20")
	form.Set("ramp", "on")
}

// choiceOf reads which rows of a list are meant: those that are ticked, all of the
// page, or all that its filter matches and that are there by now.
func (s *Server) choiceOf(form url.Values) (url.Values, error) {
	of, err := oneOf("of", form.Get("of"), []string{"chosen", "page", "all"})
	if err != nil {
		return nil, err
	}
	choice := url.Values{"back": {form.Get("back")}}
	switch of {
	case "page":
		choice["id"] = form["row"]
	case "all":
		choice = chosen(form)
		choice.Set("back", form.Get("back"))
		choice.Set("until", cmp.Or(choice.Get("until"), s.now().UTC().Format(time.RFC3339Nano)))
	default:
		choice["id"] = form["id"]
	}
	if of != "all" && len(choice["id"]) == 0 {
		return nil, invalid("invalid_parameter", "tick the rows that you mean, or choose the page or all that match")
	}
	return choice, nil
}

// startReplaysPage starts what was asked about.
func (s *Server) startReplaysPage(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	spec, err := specOf(r.PostForm, s.now())
	if err != nil {
		return s.ask(w, r, doReplay, r.PostForm, err)
	}
	job, err := s.opts.Store.StartJob(r.Context(), spec, actor(r))
	if err != nil {
		return err
	}
	s.wakeReplays()
	s.goBack(w, r, "job-started", job.ID)
	return nil
}

// changeManyPage makes a handler that discards or restores what was asked about; what
// somebody else was quicker to change stays as they left it.
func (s *Server) changeManyPage(to dlqstore.State) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := parseForm(r); err != nil {
			return err
		}
		do, done := doDiscard, "discarded"
		if to == dlqstore.Dead {
			do, done = doRestore, "restored"
		}
		change := dlqstore.Change{To: to, Reason: r.PostForm.Get("why")}
		if err := checkText("why", change.Reason); err != nil {
			return s.ask(w, r, do, r.PostForm, err)
		}
		var err error
		if change.Filter, err = filterOf(r.PostForm, s.now()); err != nil {
			return err
		}
		changed := 0
		for n := dlqstore.MaxChange; n == dlqstore.MaxChange; changed += n {
			n, err = s.opts.Store.Change(r.Context(), change, actor(r))
			if err != nil && changed > 0 {
				return &problem{http.StatusServiceUnavailable, "broken_off", fmt.Sprintf("%s were %s, then it broke off; do it again for the rest",
					count(changed, "dead letter"), done), err}
			}
			if err != nil {
				return err
			}
		}
		s.goBack(w, r, done, strconv.Itoa(changed))
		return nil
	}
}

// ask shows the form as it was typed, and what is wrong with it.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, do string, form url.Values, wrong error) error {
	filter, err := filterOf(form, s.now())
	if err != nil {
		return err
	}
	titles := map[string]string{doReplay: "Replay many", doDiscard: "Discard many", doRestore: "Restore many"}
	view := chooseView{
		frame: s.frame(r, titles[do], "dead-letters"), Do: do, What: filterText(filter), Chosen: fields(chosen(form)),
		Back: cmp.Or(ownList(form.Get("back")), listPath(listOfDead, chosen(form), "", "")),
		Rate: form.Get("rate"), Limit: form.Get("limit"), StopAfter: form.Get("stop_after"), Why: form.Get("why"),
		Ramp: form.Get("ramp") != "",
	}
	from, to := dlqstore.Dead, dlqstore.Discarded // also of a replay: both are of what is dead
	if do == doRestore {
		from, to = to, from
	}
	filter.State = from
	n, err := s.opts.Store.CountChange(r.Context(), dlqstore.Change{Filter: filter, To: to})
	if err != nil {
		return err
	}
	if n > 0 {
		verb, _, _ := strings.Cut(titles[do], " ")
		view.Count, view.Title = digits(n), verb+" "+count(n, "dead letter")
	}
	groups, err := s.opts.Store.Groups(r.Context(), filter, maxCauses)
	if err != nil {
		return err
	}
	view.Targets = s.targets(groups)
	list, err := s.opts.Store.List(r.Context(), filter, dlqstore.Page{Limit: 3, Brief: true})
	if err != nil {
		return err
	}
	for _, d := range list.DeadLetters {
		view.Samples = append(view.Samples, s.deadLetterRow(d))
	}
	for i, c := range view.Chosen { // an age means the time that it means now
		switch c.Text {
		case "since":
			view.Chosen[i].Value = filter.Since.UTC().Format(time.RFC3339Nano)
		case "until":
			view.Chosen[i].Value = filter.Until.UTC().Format(time.RFC3339Nano)
		}
	}
	status := http.StatusOK
	if wrong != nil {
		status, view.Wrong = http.StatusBadRequest, sentence(s.problemOf(wrong).message)
	}
	return render(w, s.pages.choose, status, view)
}

// targets are the routes of groups, the one with the most first.
func (s *Server) targets(groups []dlqstore.Group) []targetView {
	counts := map[string]int{}
	for _, g := range groups {
		counts[g.Route] += g.Count
	}
	urls := map[string]string{}
	for _, status := range s.opts.Routes.Routes() {
		urls[status.Name] = status.URL
	}
	var list []targetView
	for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b))
	}) {
		list = append(list, targetView{digits(counts[name]), cut(visible(name), maxCell), visible(urls[name])})
	}
	return list
}

// chosen are the parameters of a form that choose dead letters.
func chosen(form url.Values) url.Values {
	q := url.Values{}
	for _, name := range filterParameters() {
		if v := form.Get(name); v != "" && name != "state" {
			q.Set(name, v)
		}
	}
	if len(form["id"]) > 0 {
		q["id"] = form["id"]
	}
	return q
}

// fields are hidden fields that hold a form's values.
func fields(form url.Values) []choice {
	var list []choice
	for name, values := range form {
		for _, v := range values {
			list = append(list, choice{Value: v, Text: name})
		}
	}
	slices.SortFunc(list, func(a, b choice) int { return cmp.Or(cmp.Compare(a.Text, b.Text), cmp.Compare(a.Value, b.Value)) })
	return list
}

// filterOf reads what a form chooses.
func filterOf(form url.Values, now time.Time) (dlqstore.Filter, error) {
	return parseChoice(chosen(form), form["id"], now)
}

// specOf reads the form of a replay job.
func specOf(form url.Values, now time.Time) (spec dlqstore.JobSpec, err error) {
	const most = 100_000_000
	var errs [4]error
	spec.Filter, errs[0] = filterOf(form, now)
	spec.Limit, errs[1] = parseNumber("at most", form.Get("limit"), 1, most)
	spec.StopAfter, errs[2] = parseNumber("pause after", form.Get("stop_after"), 1, most)
	spec.RatePerSecond, errs[3] = parseRate(form)
	spec.Ramp = form.Get("ramp") != ""
	return spec, cmp.Or(cmp.Or(errs[:]...), checkRate(spec.RatePerSecond))
}

// parseRate reads how many a second a form wants. Empty: 0, no limit.
func parseRate(form url.Values) (float64, error) {
	rate := form.Get("rate")
	if rate == "" {
		return 0, nil
	}
	perSecond, err := strconv.ParseFloat(rate, 64)
	if err != nil {
		return 0, badParameter("rate", "a number wanted, got %q", visible(rate))
	}
	return perSecond, nil
}

// exportPage writes what was chosen as the API shows it, one object a line.
func (s *Server) exportPage(w http.ResponseWriter, r *http.Request) error {
	if err := parseForm(r); err != nil {
		return err
	}
	form, err := s.choiceOf(r.PostForm)
	if err != nil {
		return err
	}
	filter, err := filterOf(form, s.now())
	if err != nil {
		return err
	}
	if state := r.PostForm.Get("state"); state != stateAll && len(filter.IDs) == 0 {
		if filter.State, err = oneOf("state", dlqstore.State(state), states()); err != nil {
			return err
		}
	}
	rc, enc := http.NewResponseController(w), json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	page := dlqstore.Page{Limit: exportBatch}
	for first := true; first || page.Cursor != ""; first = false {
		list, err := s.opts.Store.List(r.Context(), filter, page)
		switch {
		case err != nil && first:
			return err
		case err != nil: // what is written cannot be taken back: the download breaks off
			s.log.Warn("export broken off", "err", err)
			panic(http.ErrAbortHandler)
		case first:
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "dead-letters-"+s.now().UTC().Format("20060102-150405")+".ndjson"))
		}
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		for _, d := range list.DeadLetters {
			if err := enc.Encode(toJSON(d)); err != nil {
				return nil //nolint:nilerr // the client went away
			}
		}
		page.Cursor = list.Next
	}
	return nil
}

// exportBatch is how many dead letters of an export are in memory at once.
const exportBatch = 100

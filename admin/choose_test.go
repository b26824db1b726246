package admin_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"relay/admin"
	"relay/dlqstore"
)

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// fieldsOf are the hidden fields of a page's forms.
func fieldsOf(a answer) url.Values {
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(a.body, -1) {
		form.Add(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	return form
}

func TestChooseMany(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(1, nil), dead(2, nil), dead(3, nil), dead(4, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }))
	list := s.get("/dead-letters?route=orders-to-billing")
	s.has(list, `form="choose" name="id" value="`+ids[0]+`"`, "this page (3)", "all that match (3)", "Discard…", "Export")
	with := func(change url.Values) string {
		form := fieldsOf(list)
		maps.Copy(form, change)
		return form.Encode()
	}
	if got := s.form("/dead-letters/choose", with(url.Values{"of": {"chosen"}, "do": {"discard"}})); got.status != http.StatusBadRequest {
		t.Errorf("nothing ticked: %d", got.status)
	} else {
		s.has(got, "Tick the rows", `href="/dead-letters?route=orders-to-billing"`)
	}

	ask := s.form("/dead-letters/choose", with(url.Values{"of": {"chosen"}, "do": {"discard"}, "id": ids[:2]}))
	s.has(ask, "Discard 2", "2 chosen by id", "<strong>2</strong> of <bdi>orders-to-billing", `href="/dead-letters?route=orders-to-billing"`)
	form := fieldsOf(ask)
	form.Set("why", strings.Repeat("é", 300))
	long := s.form("/dead-letters/discard", form.Encode())
	if long.status != http.StatusBadRequest {
		t.Errorf("a reason that is too long: %d", long.status)
	}
	s.has(long, "Why: at most 512 bytes", "Discard 2", form.Get("why"))
	form.Set("why", "test traffic")
	done := s.form("/dead-letters/discard", form.Encode())
	if want := "/dead-letters?about=2&done=discarded&route=orders-to-billing"; done.header.Get("Location") != want {
		t.Fatalf("%d, sent to %q, want %q\n%s", done.status, done.header.Get("Location"), want, done.body)
	}
	s.has(s.get(done.header.Get("Location")), "Discarded 2 dead letters.", "1 dead letter")
	d, err := s.store.Get(t.Context(), ids[1])
	if err != nil || d.State != dlqstore.Discarded || d.DiscardReason != "test traffic" || s.state(ids[2]) != dlqstore.Dead || s.state(ids[3]) != dlqstore.Dead {
		t.Errorf("%+v (%v)", d, err)
	}

	discarded := s.get("/dead-letters?state=discarded")
	s.has(discarded, "Restore…")
	form = fieldsOf(discarded)
	form.Set("of", "all")
	form.Set("do", "restore")
	ask = s.form("/dead-letters/choose", form.Encode())
	s.has(ask, "Restore 2", "failed before")
	if got := s.form("/dead-letters/restore", fieldsOf(ask).Encode()); got.status != http.StatusSeeOther || s.state(ids[0]) != dlqstore.Dead || s.state(ids[1]) != dlqstore.Dead {
		t.Errorf("restore: %d, %s, %s", got.status, s.state(ids[0]), s.state(ids[1]))
	}

	ask = s.form("/dead-letters/choose", with(url.Values{"of": {"page"}, "do": {"replay"}}))
	s.has(ask, "Replay 3", "https://billing.example.com/hooks/orders", `value="50"`)
	if got := s.form("/replays", fieldsOf(ask).Encode()); got.status != http.StatusSeeOther {
		t.Fatalf("replay: %d", got.status)
	}
	jobs, err := s.store.Jobs(t.Context(), 1)
	if err != nil || len(jobs) != 1 || jobs[0].Total != 3 {
		t.Errorf("%+v (%v)", jobs, err)
	}
}

// breaking is a store whose database is lost after some calls.
type breaking struct {
	dlqstore.Store
	changes *int // that succeed
}

func (s breaking) Change(context.Context, dlqstore.Change, dlqstore.Actor) (int, error) {
	if *s.changes--; *s.changes < 0 {
		return 0, errors.New("the database is gone")
	}
	return dlqstore.MaxChange, nil
}

// TestChangeManyBreaksOff: what was done by then is told.
func TestChangeManyBreaksOff(t *testing.T) {
	changes := 2
	s := start(t, func(o *admin.Options) { o.Store = breaking{o.Store, &changes} })
	got := s.form("/dead-letters/discard", url.Values{"route": {"orders-to-billing"}}.Encode())
	if got.status != http.StatusServiceUnavailable {
		t.Errorf("got %d", got.status)
	}
	s.has(got, "40,000 dead letters were discarded")
}

func TestExportMany(t *testing.T) {
	s := start(t, nil)
	var records []dlqstore.Record
	for i := range 230 {
		records = append(records, dead(i, nil))
	}
	ids := s.add(records...)
	got := s.form("/dead-letters/export", url.Values{"of": {"all"}, "state": {"dead"}}.Encode())
	lines := strings.Split(strings.TrimSpace(got.body), "\n")
	if len(lines) != 230 || !strings.Contains(lines[0], `"id":"`+ids[229]+`"`) || !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%d lines, %v", len(lines), got.header)
	}
	got = s.form("/dead-letters/export", url.Values{"of": {"chosen"}, "id": {ids[7]}}.Encode())
	if n := strings.Count(got.body, "\n"); n != 1 || !strings.Contains(got.body, ids[7]) {
		t.Errorf("%d lines", n)
	}
}

func TestAuditPage(t *testing.T) {
	s := start(t, nil)
	s.has(s.get("/audit"), "Nobody has changed anything yet")
	ids := s.add(dead(1, nil), dead(2, nil))
	anna := dlqstore.Actor{Name: "anna", Source: "10.0.0.7"}
	if err := s.store.Discard(t.Context(), ids[0], "test <b>traffic</b>", anna); err != nil {
		t.Fatal(err)
	}
	edit := &dlqstore.Edit{Payload: []byte(`{}`)}
	copied, err := s.store.StartReplay(t.Context(), ids[1], edit, dlqstore.Actor{Name: "edda"})
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.store.StartJob(t.Context(), dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders-to-billing"}}, anna)
	if err != nil {
		t.Fatal(err)
	}
	all := s.get("/audit")
	s.has(all, "Discarded", "anna", "10.0.0.7", "test &lt;b&gt;traffic", "Edited and replayed", copied.ID, `href="/replays/`+job.ID+`"`, "Replay job started")
	mine := s.get("/audit?actor=edda&action=edit_and_replay")
	s.has(mine, "Edited and replayed", `value="edda"`, "selected>edit and replay")
	if strings.Contains(mine.body, "10.0.0.7") {
		t.Error("the filter lets others through")
	}
	s.has(s.get("/audit?actor=nobody"), "No change matches")
	if got := s.get("/audit?action=nonsense"); got.status != http.StatusBadRequest {
		t.Errorf("wrong action: %d", got.status)
	}
	s.has(s.get("/dead-letters/"+ids[1]), "History", "Edited and replayed", `href="/dead-letters/`+copied.ID+`"`)
}

func TestJobPage(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(1, nil), dead(2, nil))
	job, err := s.store.StartJob(t.Context(), dlqstore.JobSpec{}, dlqstore.Actor{Name: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	path := "/replays/" + job.ID
	s.has(s.get(path), ids[0], ids[1], "Waiting", "0 of 2", "orders.created", `name="back" value="`+path+`"`)
	s.has(s.get(path+"?state=delivered"), "None in this state")
	got := s.form(path+"/cancel", url.Values{"back": {path}}.Encode())
	if want := path + "?about=" + job.ID + "&done=job-cancelled"; got.header.Get("Location") != want {
		t.Errorf("sent to %q, want %q", got.header.Get("Location"), want)
	}
	s.has(s.get(path), "Cancelled")
	if got := s.get("/replays/rpl_none"); got.status != http.StatusNotFound {
		t.Errorf("unknown job: %d", got.status)
	}
}

// TestJobRate changes the pace of a job under way, on its page and over the API.
func TestJobRate(t *testing.T) {
	s := start(t, nil)
	s.add(dead(1, nil), dead(2, nil))
	job, err := s.store.StartJob(t.Context(), dlqstore.JobSpec{RatePerSecond: 50}, dlqstore.Actor{Name: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	page, path := "/replays/"+job.ID, "/api/v1/replays/"+job.ID+"/rate"
	s.has(s.get(page), `name="rate" value="50"`)
	done := s.form(page+"/rate", "rate=200&back="+url.QueryEscape(page))
	to := done.header.Get("Location")
	if done.status != http.StatusSeeOther || !strings.HasPrefix(to, page+"?") || s.wakes.count() != 1 {
		t.Fatalf("got %d, to %q, %d wakes", done.status, to, s.wakes.count())
	}
	s.has(s.get(to), "The new rate holds", "200 a second")
	for _, typed := range []string{"fast", "-1"} {
		wrong := s.form(page+"/rate", "rate="+typed)
		if wrong.status != http.StatusBadRequest {
			t.Errorf("%q: got %d", typed, wrong.status)
		}
		s.has(wrong, "a number ", ` wanted`, `name="rate" value="`+typed+`"`)
	}
	for _, body := range []string{"", "{}", `{"rate_per_second":null}`, `{"rate_per_second":-1}`, `{"rate_per_second":1e9}`} {
		if got := s.post(path, body); got.status != http.StatusBadRequest || s.code(got) != "invalid_body" {
			t.Errorf("%q: got %d %s", body, got.status, got.body)
		}
	}
	var shown jobShown
	if s.decode(s.post(path, `{"rate_per_second":0}`), &shown); shown.Rate != 0 || shown.State != "running" {
		t.Errorf("got %+v", shown)
	}
	s.has(s.get("/audit?action=job_rate"), "Replay job rate changed", "200 a second → as fast as the receiver takes")

	if _, err := s.store.ChangeJob(t.Context(), job.ID, dlqstore.JobCancelled, dlqstore.Actor{Name: "otto"}); err != nil {
		t.Fatal(err)
	}
	late := s.form(page+"/rate", "rate=1")
	if late.status != http.StatusConflict || strings.Contains(late.body, `name="rate"`) {
		t.Errorf("a cancelled job has a rate to change: got %d", late.status)
	}
	s.has(late, "otto")
	if got := s.post("/api/v1/replays/rpl_none/rate", `{"rate_per_second":1}`); got.status != http.StatusNotFound {
		t.Errorf("unknown job: got %d %s", got.status, got.body)
	}
}

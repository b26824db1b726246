package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"relay/admin"
	"relay/dlqstore"
)

// What one relay exports, another one imports, and then exports the same.
func TestImport(t *testing.T) {
	from, to := start(t, nil), start(t, nil)
	from.add(dead(0, nil), dead(1, func(d *dlqstore.DeadLetter) { d.Payload = []byte("\x00\xff") }),
		dead(2, func(d *dlqstore.DeadLetter) { d.Payload, d.Response = nil, []byte("\xff no text") }))
	list := func(s *surface) string {
		body := s.get("/api/v1/dead-letters").body
		body = strings.TrimPrefix(body, `{"dead_letters":[`)
		return strings.ReplaceAll(body[:strings.LastIndex(body, "]")], "\n,", "\n")
	}
	lines := list(from)
	for _, want := range []string{`{"imported":3,"known":0}`, `{"imported":0,"known":3}`} {
		if got := to.post("/api/v1/dead-letters/import", lines); got.status != http.StatusOK || got.body != want+"\n" {
			t.Fatalf("got %d %s, want %s", got.status, got.body, want)
		}
	}
	if got := list(to); got != lines {
		t.Errorf("got  %s\nwant %s", got, lines)
	}
	first, _, _ := strings.Cut(lines, "\n")
	for name, body := range map[string]string{
		"no JSON": "x", "no object": "[1]", "an id": strings.Replace(first, "msg_", "x", 1), "no payload": `{"id":"msg_aaaaaaaaaaaaaaaaaaaaaaaaaa"}`,
		"a reason": strings.Replace(first, `"exhausted"`, `"tired"`, 1), "in the second": first + "\n{}", "a status": strings.Replace(first, `"status":503`, `"status":5030`, 1),
	} {
		if got := to.post("/api/v1/dead-letters/import", body); got.status != http.StatusBadRequest || to.code(got) != "invalid_body" && to.code(got) != "invalid_parameter" {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
}

type rebuilder struct{ err error }

func (r rebuilder) Step(_ context.Context, at dlqstore.RebuildStep, dryRun bool, by dlqstore.Actor) (dlqstore.RebuildStep, error) {
	if dryRun {
		at.Added = 1
	}
	return dlqstore.RebuildStep{Stream: at.Stream + by.Name, Next: at.Next + 1, Last: 9, Read: 2, Added: at.Added, Done: true}, r.err
}

func TestRebuild(t *testing.T) {
	s := start(t, func(o *admin.Options) { o.Rebuild = rebuilder{} })
	got := s.post("/api/v1/dead-letters/rebuild", `{"stream":"DLQ of ","next":7,"dry_run":true}`)
	if want := `{"stream":"DLQ of anonymous","next":8,"last":9,"read":2,"added":1,"done":true}` + "\n"; got.body != want {
		t.Errorf("got %s, want %s", got.body, want)
	}
	s = start(t, func(o *admin.Options) { o.Rebuild = rebuilder{errors.New("no stream")} })
	if got := s.post("/api/v1/dead-letters/rebuild", ""); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "no stream") {
		t.Errorf("a stream that is not there: got %d %s", got.status, got.body)
	}
	if got := start(t, nil).post("/api/v1/dead-letters/rebuild", ""); got.status != http.StatusNotImplemented {
		t.Errorf("without a rebuilder: got %d %s", got.status, got.body)
	}
}

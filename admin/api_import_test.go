package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

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
		"a reason": strings.Replace(first, `"exhausted"`, `"tired"`, 1), "a route": strings.Replace(first, `"orders-to-billing"`, `"orders to billing"`, 1), "in the second": first + "\n{}", "headers": strings.Replace(first, `"headers":`, `"headers_base64":[{"name":"ä"}],"headers":`, 1), "a status": strings.Replace(first, `"status":503`, `"status":5030`, 1),
	} {
		if got := to.post("/api/v1/dead-letters/import", body); got.status != http.StatusBadRequest || to.code(got) != "invalid_body" && to.code(got) != "invalid_parameter" {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
}

// Headers of any bytes come through an export and an import as they are.
func TestImportKeepsHeaders(t *testing.T) {
	from, to := start(t, nil), start(t, nil)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		some := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte("Ab-\x00\r\n\xc3\x84\xff\"")), 1, 6), func(b []byte) string { return string(b) })
		n++
		id := from.add(dead(n, func(d *dlqstore.DeadLetter) {
			d.Headers = rapid.MapOfN(some, rapid.SliceOfN(some, 1, 3), 1, 4).Draw(rt, "headers")
		}))[0]
		var page struct {
			DeadLetters []json.RawMessage `json:"dead_letters"`
		}
		from.decode(from.get("/api/v1/dead-letters?q="+id), &page)
		if got := to.post("/api/v1/dead-letters/import", string(page.DeadLetters[0])); got.body != `{"imported":1,"known":0}`+"\n" {
			rt.Fatalf("import: %d %s", got.status, got.body)
		}
		want, err := from.store.Get(t.Context(), id)
		got, goterr := to.store.Get(t.Context(), id)
		if err = errors.Join(err, goterr); err != nil || !reflect.DeepEqual(got.Headers, want.Headers) {
			rt.Fatalf("got  %q\nwant %q, %v", got.Headers, want.Headers, err)
		}
	})
	plain := start(t, nil)
	plain.add(dead(1, nil))
	line := plain.get("/api/v1/dead-letters").body
	if strings.Contains(line, "headers_base64") {
		t.Errorf("headers that are text stand there twice: %s", line)
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

package admin_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"relay/dlqstore"
)

func editForm(payload, headers, seen string) string {
	return url.Values{"payload": {payload}, "headers": {headers}, "seen": {seen}}.Encode()
}

var seenSum = regexp.MustCompile(`name="seen" value="([0-9a-f]{64})"`)

func TestEditAndReplay(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(0, nil))[0]
	path := "/dead-letters/" + id + "/edit"
	s.has(s.get("/dead-letters/"+id), `href="`+path+`"`)
	s.has(s.get(path), "&#34;order&#34;: 9007199254740993,\n", "Content-Type: application/json\nEvent-Type: order</textarea>")

	payload, headers := "{\r\n  \"order\": 9007199254740993,\r\n  \"total\": 13\r\n}", "Content-Type: application/json\r\nEvent-Type: order.fixed"
	preview := s.form(path, editForm(payload, headers, ""))
	sum := seenSum.FindStringSubmatch(preview.body)
	if preview.status != http.StatusOK || sum == nil || s.state(id) != dlqstore.Dead {
		t.Fatalf("preview: got %d, %s\n%s", preview.status, s.state(id), preview.body)
	}
	s.has(preview, "-</span><span>Event-Type: order<", "&#43;</span><span>Event-Type: order.fixed<",
		"-</span><span>  &#34;total&#34;: 12.50<", "&#43;</span><span>  &#34;total&#34;: 13<")
	if strings.Contains(preview.body, "-</span><span>  &#34;order&#34;") {
		t.Error("a line that is the same is told as a difference")
	}

	if again := s.form(path, editForm(payload+" ", headers, sum[1])); again.status != http.StatusOK || s.state(id) != dlqstore.Dead {
		t.Errorf("sent what nobody saw the difference of: %d", again.status)
	}
	got := s.form(path, editForm(payload, headers, sum[1]))
	location, query, _ := strings.Cut(got.header.Get("Location"), "?")
	copied := strings.TrimPrefix(location, "/dead-letters/")
	if got.status != http.StatusSeeOther || copied == id || query != "about="+id+"&done=edited" || s.wakes.count() != 1 {
		t.Fatalf("sent: got %d to %q, %d wakes", got.status, got.header.Get("Location"), s.wakes.count())
	}
	d, err := s.store.Get(t.Context(), copied)
	if err != nil || string(d.Payload) != "{\n  \"order\": 9007199254740993,\n  \"total\": 13\n}" ||
		d.Headers["Event-Type"][0] != "order.fixed" || d.ReplayOf != id {
		t.Errorf("copy: %+v, %v", d, err)
	}
	s.has(s.get(got.header.Get("Location")), "This copy is on its way", `href="/dead-letters/`+id+`"`)

	late := s.form(path, editForm(payload, headers, sum[1]))
	if late.status != http.StatusConflict {
		t.Errorf("second: got %d", late.status)
	}
	s.has(late, "is discarded since", "by anonymous", "order.fixed</textarea>")
	s.has(s.get(path), "It is discarded; only what is dead can be replayed.")
}

func TestEditKeepsWhatIsUntouched(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(0, nil))[0]
	path, shown := "/dead-letters/"+id+"/edit", "{\n  \"order\": 9007199254740993,\n  \"total\": 12.50\n}"
	sum := seenSum.FindStringSubmatch(s.form(path, editForm(shown, "", "")).body)
	if sum == nil {
		t.Fatal("no preview")
	}
	got := s.form(path, editForm(shown, "", sum[1]))
	copied, _, _ := strings.Cut(strings.TrimPrefix(got.header.Get("Location"), "/dead-letters/"), "?")
	d, err := s.store.Get(t.Context(), copied)
	if err != nil || string(d.Payload) != `{"order":9007199254740993,"total":12.50}` || len(d.Headers) != 0 {
		t.Errorf("got %s %v (%v)", d.Payload, d.Headers, err)
	}
}

func TestEditRefuses(t *testing.T) {
	tests := []struct{ name, payload, headers, want string }{
		{"no JSON any more", "{\n  \"order\": 1,\n}", "", "line 3, character 1: invalid character &#39;}&#39;"},
		{"header without a colon", "{}", "Event-Type: x\nnonsense", "Line 2 of the headers: Name: value wanted, got &#34;nonsense&#34;"},
		{"header with an odd name", "{}", "Event Type: x", "Line 1 of the headers"},
		{"nothing", `{"order":9007199254740993,"total":12.50}`, "Content-Type: application/json\nEvent-Type: order", "Nothing is changed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(0, nil))[0]
			got := s.form("/dead-letters/"+id+"/edit", editForm(test.payload, test.headers, ""))
			if got.status != http.StatusBadRequest || seenSum.MatchString(got.body) {
				t.Errorf("got %d", got.status)
			}
			s.has(got, test.want, strings.ReplaceAll(test.payload, `"`, "&#34;")+"</textarea>", test.headers+"</textarea>")
		})
	}
}

func TestEditNotHere(t *testing.T) {
	tests := []struct {
		name   string
		change func(*dlqstore.DeadLetter)
		want   string
	}{
		{"binary", func(d *dlqstore.DeadLetter) { d.Payload = []byte("\x00\xff") }, "bytes that a form would not keep"},
		{"line ends of two characters", func(d *dlqstore.DeadLetter) { d.Payload = []byte("a\r\nb") }, "bytes that a form would not keep"},
		{"large", func(d *dlqstore.DeadLetter) { d.Payload = make([]byte, 300<<10) }, "too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, nil)
			id := s.add(dead(0, test.change))[0]
			got := s.get("/dead-letters/" + id + "/edit")
			if got.status != http.StatusConflict {
				t.Errorf("got %d", got.status)
			}
			s.has(got, test.want)
		})
	}
}

package admin_test

import (
	"net/http"
	"net/url"
	"reflect"
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

// TestEditHeaderClasses: what is locked goes along as it is, what is sensitive is not shown
// and kept unless typed anew.
func TestEditHeaderClasses(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(0, func(d *dlqstore.DeadLetter) {
		d.Headers = map[string][]string{"Nats-Msg-Id": {"order-7"}, "Authorization": {"Bearer s3cret"}, "X-Api-Key": {"k1", "k2"}, "Event-Type": {"order"}}
	}))[0]
	path := "/dead-letters/" + id + "/edit"
	const hidden = "Authorization: ••••••••\nEvent-Type: order\nX-Api-Key: ••••••••\nX-Api-Key: ••••••••"
	page := s.get(path)
	s.has(page, hidden+"</textarea>", "Locked headers", "<bdi>Nats-Msg-Id</bdi></dt><dd><bdi>order-7<")
	for _, secret := range []string{"s3cret", "k1", "k2"} {
		if strings.Contains(page.body, secret) || strings.Contains(s.get("/dead-letters/"+id).body, secret) {
			t.Errorf("a page shows %s", secret)
		}
	}
	payload := `{"order":1}`
	s.has(s.form(path, editForm(payload, "nats-msg-id: other", "")), "nats-msg-id is locked")
	s.has(s.form(path, editForm(payload, "X-Api-Key: ••••••••", "")), "type the value of X-Api-Key instead of")

	typed := strings.Replace(strings.Replace(hidden, "Event-Type: order\n", "", 1), "X-Api-Key: ••••••••", "X-Api-Key: k3", 1)
	preview := s.form(path, editForm(payload, typed, ""))
	s.has(preview, "-</span><span>X-Api-Key: ••••••••<", "&#43;</span><span>X-Api-Key: k3<")
	sum := seenSum.FindStringSubmatch(preview.body)
	if sum == nil || strings.Contains(preview.body, "s3cret") {
		t.Fatal(preview.body)
	}
	copied, _, _ := strings.Cut(strings.TrimPrefix(s.form(path, editForm(payload, typed, sum[1])).header.Get("Location"), "/dead-letters/"), "?")
	d, err := s.store.Get(t.Context(), copied)
	want := map[string][]string{"Nats-Msg-Id": {"order-7"}, "Authorization": {"Bearer s3cret"}, "X-Api-Key": {"k3", "k2"}}
	if err != nil || !reflect.DeepEqual(d.Headers, want) {
		t.Errorf("got %v, want %v (%v)", d.Headers, want, err)
	}
}

// TestEditCheck asks what the page asks while somebody types.
func TestEditCheck(t *testing.T) {
	s := start(t, nil)
	id := s.add(dead(0, nil))[0]
	const headers = "Content-Type: application/json\nEvent-Type: order"
	tests := []struct{ name, payload, headers, want string }{
		{"untouched", "{\n  \"order\": 9007199254740993,\n  \"total\": 12.50\n}", headers, "Nothing is changed yet"},
		{"in order", `{"order":1}`, headers, `class="ok"`},
		{"not to its end", `{"order":`, headers, "line 1, character 9: unexpected end of JSON input"},
		{"header", `{"order":1}`, "Event-Type", "Line 1 of the headers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := s.form("/dead-letters/"+id+"/edit/check", editForm(test.payload, test.headers, ""))
			if got.status != http.StatusOK || strings.Contains(got.body, "<html") {
				t.Errorf("got %d %s", got.status, got.body)
			}
			s.has(got, test.want)
		})
	}
	if s.state(id) != dlqstore.Dead {
		t.Error("a check has changed something")
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

package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"relay/dlqstore"
)

// maxEditBytes bounds the form: what a page shows of a payload, with every byte escaped.
const maxEditBytes = 3*maxShownBytes + 64<<10

type editView struct {
	frame
	ID, Path         string
	Subject, Route   string
	Payload, Headers string       // as typed
	Locked           []headerView // headers that go along as they are
	Hidden           string       // what stands for a sensitive value; empty: there is none
	IsJSON           bool
	Cannot           string // why it cannot be edited here
	Wrong            string // what is wrong with what was typed
	Diff             []diffLine
	Seen             string // of what the difference is shown; only that is sent
}

// editPage shows the form with what the message holds; POST checks what was typed,
// shows the difference, and sends what was seen.
func (s *Server) editPage(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deadLetter(r)
	if err != nil {
		return err
	}
	view := editView{
		frame: s.frame(r, "Edit and replay", "dead-letters"), ID: d.ID, Path: deadLetterPath(d.ID),
		Subject: cut(visible(d.OriginalSubject), maxCell), Route: cut(visible(d.Route), maxCell), Cannot: cannotEdit(d),
		IsJSON: isJSON(d.Payload), Locked: headersOf(lockedOf(d.Headers)),
	}
	if strings.Contains(headerText(d.Headers, d.Headers), hidden) {
		view.Hidden = hidden
	}
	if view.Cannot == "" && r.Method != http.MethodPost && d.State != dlqstore.Dead { // of two who edit, the second keeps what they typed
		view.Cannot = "It is " + string(d.State) + "; only what is dead can be replayed."
	}
	if view.Cannot != "" {
		return render(w, s.pages.edit, http.StatusConflict, view)
	}
	if r.Method != http.MethodPost {
		view.Payload, view.Headers = editText(d.Payload), headerText(d.Headers, d.Headers)
		return render(w, s.pages.edit, http.StatusOK, view)
	}
	if view.Payload, view.Headers, err = typed(r); err != nil {
		return err
	}
	edit, err := checkEdit(d, view.Payload, view.Headers)
	if err == nil {
		sum := sha256.Sum256([]byte(view.Payload + "\x00" + view.Headers))
		view.Seen = hex.EncodeToString(sum[:])
		if r.PostForm.Get("seen") == view.Seen {
			var replay dlqstore.Replay
			if replay, err = s.replay(r.Context(), d.ID, edit, actor(r)); err == nil {
				u := deadLetterPath(replay.ID) + "?" + url.Values{noticeParam: {"edited"}, aboutParam: {d.ID}}.Encode()
				s.redirect(w, r, u)
				return nil
			}
		}
	}
	status := http.StatusOK
	if err != nil {
		p := s.problemOf(err)
		status, view.Wrong, view.Seen = p.status, sentence(p.message), ""
	} else {
		view.Diff = append(diffPart("Headers", headerText(d.Headers, d.Headers), headerText(edit.Headers, d.Headers)),
			diffPart("Payload", editText(d.Payload), editText(edit.Payload))...)
	}
	return render(w, s.pages.edit, status, view)
}

// typed reads the form.
func typed(r *http.Request) (payload, headers string, err error) {
	if err := parseForm(r); err != nil {
		return "", "", err
	}
	// A browser sends each line's end as two characters.
	lines := strings.NewReplacer("\r\n", "\n")
	return lines.Replace(r.PostForm.Get("payload")), lines.Replace(r.PostForm.Get("headers")), nil
}

// checkEditPage is asked while somebody types, and says what it thinks of it. Mistakes
// are what it is asked for: they too are a 200.
func (s *Server) checkEditPage(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deadLetter(r)
	if err != nil {
		return err
	}
	payload, headers, err := typed(r)
	if err != nil {
		return err
	}
	view := badge{"The headers are in order.", "ok", "check"}
	if isJSON(d.Payload) {
		view.Word = "This is JSON, and the headers are in order."
	}
	if _, err := checkEdit(d, payload, headers); err != nil {
		p := s.problemOf(err)
		view = badge{sentence(p.message), "bad", "alert"}
		if p.code == unchanged {
			view = badge{"Nothing is changed yet.", "quiet", "minus"}
		}
	}
	return render(w, s.pages.edit.Lookup("checked"), http.StatusOK, view)
}

// cannotEdit says why a form cannot hold a dead letter. Empty: it can.
func cannotEdit(d dlqstore.DeadLetter) string {
	text := string(d.Payload) + headerText(d.Headers, d.Headers)
	switch {
	case len(text) > maxShownBytes:
		return "It is too large for a form. The API takes edited replays of any size."
	case !plain(text, "\n\t"):
		return "It holds bytes that a form would not keep. The API takes edited replays of any bytes."
	}
	return ""
}

// editText is a payload as it is edited: JSON indented, its digits kept.
func editText(payload []byte) string {
	if pretty, ok := prettyJSON(payload); ok {
		return pretty
	}
	return string(payload)
}

// unchanged is the code of the problem that nothing was typed.
const unchanged = "unchanged"

// checkEdit reads what was typed. What was JSON has to stay JSON.
func checkEdit(d dlqstore.DeadLetter, payload, headers string) (*dlqstore.Edit, error) {
	edit := &dlqstore.Edit{Payload: []byte(payload)}
	if isJSON(d.Payload) {
		var v json.RawMessage
		if err := json.Unmarshal(edit.Payload, &v); err != nil {
			return nil, invalid("invalid_body", "the payload was JSON and is none now: %s", jsonMistake(payload, err))
		}
		if editText(d.Payload) == payload {
			edit.Payload = d.Payload // untouched: byte for byte
		}
	}
	var err error
	if edit.Headers, err = parseHeaders(headers, d.Headers); err != nil {
		return nil, err
	}
	if bytes.Equal(edit.Payload, d.Payload) && (len(edit.Headers)+len(d.Headers) == 0 || reflect.DeepEqual(edit.Headers, d.Headers)) {
		return nil, invalid(unchanged, "nothing is changed; a plain replay sends it as it is, under its own id")
	}
	return edit, nil
}

// jsonMistake says where JSON goes wrong.
func jsonMistake(text string, err error) string {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return err.Error()
	}
	before := text[:min(int(syntax.Offset), len(text))]
	line := strings.Count(before, "\n") + 1
	return fmt.Sprintf("line %d, character %d: %s", line, len([]rune(before))-len([]rune(before[:strings.LastIndex(before, "\n")+1])), syntax.Error())
}

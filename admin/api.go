package admin

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"relay/dlqstore"
)

func (s *Server) listRoutes(w http.ResponseWriter, _ *http.Request) error {
	list := s.opts.Routes.Routes()
	if list == nil {
		list = []RouteStatus{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"routes": list})
	return nil
}

func (s *Server) getRoute(w http.ResponseWriter, r *http.Request) error {
	status, err := s.route(r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, status)
	return nil
}

// pauseRoute makes a handler that pauses a route, or resumes it.
func (s *Server) pauseRoute(paused bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := readJSON(w, r, maxBodyBytes, &struct{}{}); err != nil {
			return err
		}
		status, err := s.setPaused(r, paused)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, status)
		return nil
	}
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) error {
	if s.opts.Reload == nil {
		return &problem{http.StatusNotImplemented, "not_supported", "this relay does not reload its routes file; restart it", nil}
	}
	if err := readJSON(w, r, maxBodyBytes, &struct{}{}); err != nil {
		return err
	}
	if err := s.opts.Reload(r.Context()); err != nil {
		return &problem{http.StatusUnprocessableEntity, "reload_refused", "the routes in force stay: " + err.Error(), nil}
	}
	s.log.Info("reload asked for", "by", callerOf(r).name)
	writeJSON(w, http.StatusOK, map[string]bool{"reloaded": true})
	return nil
}

func (s *Server) listDeadLetters(w http.ResponseWriter, r *http.Request) error {
	query, err := strictQuery(r, append(filterParameters(), "limit", "cursor")...)
	if err != nil {
		return err
	}
	filter, page, err := parseFilter(query, s.now())
	if err != nil {
		return err
	}
	list, err := s.opts.Store.List(r.Context(), filter, page)
	if err != nil {
		return err
	}
	writeList(w, list)
	return nil
}

// writeList encodes one dead letter at a time: a page may hold 500 large payloads.
func writeList(w http.ResponseWriter, list dlqstore.List) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_, err := fmt.Fprint(w, `{"dead_letters":[`)
	for i, d := range list.DeadLetters {
		if i > 0 && err == nil {
			_, err = fmt.Fprint(w, ",")
		}
		if err != nil {
			return // the client went away
		}
		err = enc.Encode(toJSON(d))
	}
	if err == nil {
		searched := ""
		if !list.SearchedTo.IsZero() { // a search for text has not looked further back yet
			searched = fmt.Sprintf(",\"searched_to\":%q", list.SearchedTo.UTC().Format(time.RFC3339Nano))
		}
		_, _ = fmt.Fprintf(w, "],\"next_cursor\":%q%s}\n", list.Next, searched)
	}
}

// strictQuery refuses parameters that mean nothing: a misspelt filter would choose all.
func strictQuery(r *http.Request, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("invalid_parameter", "the query cannot be read: %v", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return nil, invalid("invalid_parameter", "unknown parameter %q; there are %s", visible(name), strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, badParameter(name, "given %d times", len(values))
		}
	}
	return query, nil
}

func (s *Server) getDeadLetter(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deadLetter(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toJSON(d))
	return nil
}

func (s *Server) deadLetter(r *http.Request) (dlqstore.DeadLetter, error) {
	id, err := deadLetterID(r)
	if err != nil {
		return dlqstore.DeadLetter{}, err
	}
	return s.opts.Store.Get(r.Context(), id)
}

// getPayload answers with the exact bytes, as a download that no browser runs.
func (s *Server) getPayload(w http.ResponseWriter, r *http.Request) error {
	d, err := s.deadLetter(r)
	if err != nil {
		return err
	}
	contentType, extension := payloadType(d.Headers)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(d.Payload)))
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": d.ID + extension}))
	_, _ = w.Write(d.Payload)
	return nil
}

// payloadType keeps the original's content type where it is one that is only data.
func payloadType(headers map[string][]string) (contentType, extension string) {
	for name, values := range headers {
		if !strings.EqualFold(name, "Content-Type") || len(values) == 0 {
			continue
		}
		media, _, err := mime.ParseMediaType(values[0])
		switch {
		case err != nil:
		case media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"):
			return media, ".json"
		case media == "text/plain":
			return media, ".txt"
		}
	}
	return "application/octet-stream", ".bin"
}

// headerValues are the values of one header: a string, or a list of them.
type headerValues []string

// UnmarshalJSON reads either form. null is a list of none.
func (h *headerValues) UnmarshalJSON(data []byte) error {
	var one *string
	if err := json.Unmarshal(data, &one); err == nil && one != nil {
		*h = headerValues{*one}
		return nil
	}
	var list []string
	err := json.Unmarshal(data, &list)
	*h = list
	return err
}

type replayRequest struct {
	Payload []byte                  `json:"payload_base64"` // absent: the original's
	Headers map[string]headerValues `json:"headers"`        // in place of all the original's; absent: those
	To      string                  `json:"to"`             // route, the default, or subject
}

func (s *Server) replayDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	var req replayRequest
	if err := readJSON(w, r, maxReplayBytes, &req); err != nil {
		return err
	}
	edit, err := s.editOf(r, id, req)
	if err != nil {
		return err
	}
	switch req.To {
	case "", "route":
		replay, err := s.replay(r.Context(), id, edit, actor(r))
		if err != nil {
			return err
		}
		writeState(w, http.StatusAccepted, replay.ID, dlqstore.Replaying)
	case "subject":
		if err := s.republish(r.Context(), id, edit, actor(r)); err != nil {
			return err
		}
		writeState(w, http.StatusAccepted, id, dlqstore.Discarded)
	default:
		return invalid("invalid_body", "to: route or subject wanted, got %q", visible(req.To))
	}
	return nil
}

// editOf completes an edit with what the request leaves as it was. Nil: there is none.
func (s *Server) editOf(r *http.Request, id string, req replayRequest) (*dlqstore.Edit, error) {
	if req.Payload == nil && req.Headers == nil {
		return nil, nil
	}
	if err := mayNot(callerOf(r), editor); err != nil {
		return nil, err
	}
	d, err := s.opts.Store.Get(r.Context(), id)
	if err != nil {
		return nil, err
	}
	edit := dlqstore.Edit{Payload: d.Payload, Headers: d.Headers}
	if req.Payload != nil {
		edit.Payload = req.Payload
	}
	if req.Headers != nil {
		edit.Headers = make(map[string][]string, len(req.Headers))
		for name, values := range req.Headers {
			if name == "" || len(values) == 0 {
				return nil, invalid("invalid_body", "headers: %q needs a name and a value", visible(name))
			}
			edit.Headers[name] = values
		}
	}
	return &edit, nil
}

func (s *Server) discardDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	var req struct {
		Reason string `json:"reason"`
	}
	if err := readJSON(w, r, maxBodyBytes, &req); err != nil {
		return err
	}
	if err := checkText("reason", req.Reason); err != nil {
		return err
	}
	if err := s.opts.Store.Discard(r.Context(), id, req.Reason, actor(r)); err != nil {
		return err
	}
	writeState(w, http.StatusOK, id, dlqstore.Discarded)
	return nil
}

func (s *Server) restoreDeadLetter(w http.ResponseWriter, r *http.Request) error {
	id, err := deadLetterID(r)
	if err != nil {
		return err
	}
	if err := readJSON(w, r, maxBodyBytes, &struct{}{}); err != nil {
		return err
	}
	if err := s.opts.Store.Restore(r.Context(), id, actor(r)); err != nil {
		return err
	}
	writeState(w, http.StatusOK, id, dlqstore.Dead)
	return nil
}

func writeState(w http.ResponseWriter, status int, id string, state dlqstore.State) {
	writeJSON(w, status, map[string]string{"id": id, "state": string(state)})
}

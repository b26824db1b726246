package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"relay/dlqstore"
)

// problem is an answer other than the one asked for. Its message is meant for the
// person or script that asked; its cause goes to the log.
type problem struct {
	status  int
	code    string // stable; scripts branch on it
	message string
	cause   error
}

func (p *problem) Error() string { return p.message }

func (p *problem) Unwrap() error { return p.cause }

// sayWhen tells a client that asked too often when to ask again.
func (p *problem) sayWhen(w http.ResponseWriter) {
	if p.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(wrongEvery.Seconds())))
	}
}

func invalid(code, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, code: code, message: fmt.Sprintf(format, args...)}
}

// problemOf is the one place that turns errors into answers.
func (s *Server) problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if state, ok := errors.AsType[*dlqstore.StateError](err); ok {
		return &problem{http.StatusConflict, "state_conflict", s.conflictText(state), nil}
	}
	if job, ok := errors.AsType[*dlqstore.JobStateError](err); ok {
		return &problem{http.StatusConflict, "state_conflict", "nothing was changed: " + job.Error(), nil}
	}
	switch {
	case errors.Is(err, dlqstore.ErrNoJob):
		return &problem{http.StatusNotFound, "not_found", "there is no such replay job", nil}
	case errors.Is(err, dlqstore.ErrNotFound):
		return &problem{http.StatusNotFound, "not_found", "there is no such dead letter", nil}
	case errors.Is(err, dlqstore.ErrCursor):
		return badParameter("cursor", "the next_cursor of a list wanted")
	case errors.Is(err, dlqstore.ErrTooNew):
		return &problem{http.StatusServiceUnavailable, "schema_too_new", err.Error(), err}
	default:
		return &problem{http.StatusServiceUnavailable, "database_unavailable",
			"the database does not answer. Deliveries go on, and dead letters wait in their stream until it is back", err}
	}
}

// conflictText tells the one who came second who was first, and when.
func (s *Server) conflictText(e *dlqstore.StateError) string {
	who := e.Actor
	if who == "" {
		who = "relay"
	}
	text := fmt.Sprintf("nothing was changed: dead letter %s is %s", e.ID, e.State)
	if e.At.IsZero() {
		return text
	}
	return fmt.Sprintf("%s since %s (%s), by %s", text, e.At.UTC().Format("2006-01-02 15:04:05 UTC"), ago(s.now().Sub(e.At)), visible(who))
}

// isAPI says whether the answer to a path is JSON for scripts, errors included.
func isAPI(path string) bool {
	if strings.HasPrefix(path, "/api/") || path == "/api" {
		return true
	}
	switch path {
	case "/healthz", "/readyz", "/health", "/metrics":
		return true
	}
	return false
}

// refuse answers with a problem, as JSON or as a page, whichever the path speaks.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	if p.cause != nil && !errors.Is(r.Context().Err(), context.Canceled) {
		s.log.Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "status", p.status, "err", p.cause)
	}
	p.sayWhen(w)
	if isAPI(r.URL.Path) {
		if p.status == http.StatusUnauthorized {
			s.challenge(w)
		}
		type body struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		writeJSON(w, p.status, map[string]body{"error": {p.code, p.message}})
		return
	}
	s.errorPage(w, r, p)
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.refuse(w, r, &problem{http.StatusNotFound, "not_found", "there is nothing at this address", nil})
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allow := http.MethodGet + ", " + http.MethodHead
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		allow = http.MethodPost
	}
	w.Header().Set("Allow", allow)
	s.refuse(w, r, &problem{http.StatusMethodNotAllowed, "method_not_allowed",
		fmt.Sprintf("%s is not answered here, %s is", visible(r.Method), allow), nil})
}

// api makes a handler of a function that answers with JSON or returns an error.
func (s *Server) api(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, cancel := limitTime(r)
		defer cancel()
		if err := h(w, r); err != nil {
			s.refuse(w, r, s.problemOf(err))
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) //nolint:errchkjson // our own types always encode; the client may have gone away
}

// Bounds of the bodies that the API takes.
const (
	maxBodyBytes   = 64 << 10
	maxReplayBytes = 96 << 20 // base64 of NATS's largest payload, 64 MiB
)

// readJSON decodes one JSON object of at most limit bytes. An empty body is {}.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			return invalid("invalid_body", "the body has more than one JSON value")
		}
	}
	return bodyProblem(err, limit)
}

func bodyProblem(err error, limit int64) error {
	var tooLarge *http.MaxBytesError
	var wrongType *json.UnmarshalTypeError
	var badBase64 base64.CorruptInputError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("the body is over %d bytes", limit), nil}
	case errors.As(err, &badBase64):
		return invalid("invalid_body", "payload_base64 is not base64: mistake at byte %d", int64(badBase64))
	case errors.As(err, &wrongType):
		return invalid("invalid_body", "%s cannot be a JSON %s", fieldName(wrongType.Field), wrongType.Value)
	default:
		return invalid("invalid_body", "the body is not the JSON object wanted: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
}

func fieldName(field string) string {
	if field == "" {
		return "the body"
	}
	return field
}

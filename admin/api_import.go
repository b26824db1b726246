package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"relay/dlqstore"
)

// Rebuilder brings back from the dead-letter streams what the table has lost.
type Rebuilder interface {
	// Step reads some messages from the place on. It returns the place of the next step.
	Step(ctx context.Context, at dlqstore.RebuildStep, dryRun bool, by dlqstore.Actor) (dlqstore.RebuildStep, error)
}

// importDeadLetters takes what an export wrote: one JSON object a line.
func (s *Server) importDeadLetters(w http.ResponseWriter, r *http.Request) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReplayBytes))
	var list []dlqstore.DeadLetter
	for n := 1; ; n++ {
		var d deadLetterJSON
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = d.check()
		} else {
			err = bodyProblem(err, maxReplayBytes)
		}
		if err == nil && d.HeadersExact != nil {
			if d.Headers, err = dlqstore.ParseExactHeaders(*d.HeadersExact); err != nil {
				err = invalid("invalid_body", "headers_base64: a list of objects with name and values in base64 wanted")
			}
		}
		if p, ok := errors.AsType[*problem](err); ok {
			p.message = fmt.Sprintf("dead letter %d: %s", n, p.message)
			return p
		}
		list = append(list, d.deadLetter())
	}
	n, err := s.opts.Store.Import(r.Context(), list, actor(r))
	if unfit, ok := errors.AsType[*dlqstore.UnfitError](err); ok {
		return invalid("invalid_body", "nothing was imported: %v", unfit)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]int{"imported": n, "known": len(list) - n})
	return nil
}

// routePattern is what the routes file takes for a name. A replay of any other would wait
// for ever: its name is a token of the replay lane's subject.
var routePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// check refuses what is no dead letter of an export.
func (d deadLetterJSON) check() error {
	switch {
	case !idPattern.MatchString(d.ID):
		return invalid("invalid_body", "id: that of a dead letter wanted, got %q", visible(d.ID))
	case d.ReplayOf != "" && !idPattern.MatchString(d.ReplayOf):
		return invalid("invalid_body", "replay_of: the id of a dead letter wanted, got %q", visible(d.ReplayOf))
	case !routePattern.MatchString(d.Route):
		return invalid("invalid_body", "route: the name of a route wanted, got %q", visible(d.Route))
	case d.OriginalSubject == "" || d.Stream == "":
		return invalid("invalid_body", "original_subject and stream are wanted")
	case d.Payload == nil || d.Headers == nil:
		return invalid("invalid_body", "payload_base64 and headers are wanted, if empty")
	case d.PublishedAt.IsZero() || d.FailedAt.IsZero():
		return invalid("invalid_body", "published_at and failed_at are wanted")
	}
	if d.Reason == "" {
		return invalid("invalid_body", "reason is wanted")
	}
	_, err := oneOf("reason", d.Reason, reasons())
	return err
}

// deadLetter is the inverse of toJSON.
func (d deadLetterJSON) deadLetter() dlqstore.DeadLetter {
	response := d.ResponseBase64
	if response == nil {
		response = []byte(d.Response)
	}
	return dlqstore.DeadLetter{
		ID: d.ID, Route: d.Route, Reason: d.Reason, OriginalSubject: d.OriginalSubject, Payload: d.Payload, Headers: d.Headers,
		Error: d.Error, Status: d.Status, Response: response, RetryCount: d.RetryCount, ConsumerName: d.ConsumerName,
		Stream: d.Stream, StreamSequence: d.StreamSequence, PublishedAt: d.PublishedAt, FailedAt: d.FailedAt, ReplayOf: d.ReplayOf,
	}
}

// rebuildJSON is a place in the dead-letter streams. A request of the place that the
// answer before told goes on from there.
type rebuildJSON struct {
	Stream string `json:"stream"`
	Next   uint64 `json:"next"` // sequence
	Last   uint64 `json:"last"`
	Read   int    `json:"read"`
	Added  int    `json:"added"`
	Done   bool   `json:"done"`
}

// rebuildDeadLetters takes one step, so that whoever asks may stop at any time.
func (s *Server) rebuildDeadLetters(w http.ResponseWriter, r *http.Request) error {
	if s.opts.Rebuild == nil {
		return &problem{http.StatusNotImplemented, "not_supported", "this relay does not rebuild its table", nil}
	}
	var req struct {
		Stream string `json:"stream"` // empty: from the beginning
		Next   uint64 `json:"next"`
		DryRun bool   `json:"dry_run"`
	}
	if err := readJSON(w, r, maxBodyBytes, &req); err != nil {
		return err
	}
	step, err := s.opts.Rebuild.Step(r.Context(), dlqstore.RebuildStep{Stream: req.Stream, Next: req.Next}, req.DryRun, actor(r))
	if err != nil {
		return &problem{http.StatusServiceUnavailable, "rebuild_failed", "the rebuild stopped; it can go on from the same place: " + err.Error(), err}
	}
	writeJSON(w, http.StatusOK, rebuildJSON(step))
	return nil
}

package admin

import (
	"net/http"

	"relay/dlqstore"
)

// changeRequest discards or restores many dead letters.
type changeRequest struct {
	// Filter has to be there, as in a replay of many.
	Filter *filterRequest `json:"filter"`
	Limit  int            `json:"limit"`  // 0: as many as one request may change
	Reason string         `json:"reason"` // of a discard
	DryRun bool           `json:"dry_run"`
}

// changeDeadLetters makes a handler that brings many dead letters into the state.
func (s *Server) changeDeadLetters(to dlqstore.State) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req changeRequest
		if err := readJSON(w, r, maxReplaysBytes, &req); err != nil {
			return err
		}
		change, err := s.changeOf(req, to)
		if err != nil {
			return err
		}
		if req.DryRun {
			n, err := s.opts.Store.CountChange(r.Context(), change)
			if err != nil {
				return err
			}
			writeJSON(w, http.StatusOK, map[string]int{"count": n})
			return nil
		}
		n, err := s.opts.Store.Change(r.Context(), change, actor(r))
		if err != nil {
			return err
		}
		more := n == dlqstore.MaxChange && n != req.Limit // there may be
		writeJSON(w, http.StatusOK, map[string]any{"count": n, "more": more})
		return nil
	}
}

func (s *Server) changeOf(req changeRequest, to dlqstore.State) (dlqstore.Change, error) {
	change := dlqstore.Change{To: to, Limit: req.Limit, Reason: req.Reason}
	if req.Filter == nil {
		return change, invalid("invalid_body", "filter: an object wanted; {} chooses all dead letters")
	}
	if req.Filter.State != "" {
		return change, invalid("invalid_body", "filter.state: what is dead is discarded, what is discarded restored")
	}
	if req.Limit < 0 {
		return change, invalid("invalid_body", "limit: 0 or more wanted")
	}
	if err := checkText("reason", req.Reason); err != nil {
		return change, err
	}
	var err error
	change.Filter, err = req.Filter.parse(s.now())
	return change, err
}

package admin

import (
	"net/http"
	"time"

	"relay/dlqstore"
)

// groupJSON is all dead letters of one route that died of the same cause.
type groupJSON struct {
	Route       string          `json:"route"`
	Fingerprint string          `json:"fingerprint"` // the parameter of that name chooses the group
	Cause       string          `json:"cause"`
	ErrorClass  string          `json:"error_class"`
	Status      int             `json:"status"` // 0: there was no answer
	Reason      dlqstore.Reason `json:"reason"` // of the newest
	Count       int             `json:"count"`
	FirstSeen   time.Time       `json:"first_seen"`
	LastSeen    time.Time       `json:"last_seen"`
	Sample      string          `json:"sample"` // id of the newest
	// Hours are how many failed in each of the 24 hours up to the present one, the
	// oldest first, in the state that was asked for.
	Hours [dlqstore.Hours]int `json:"hours"`
}

// filterParameters are the names under which a query chooses dead letters.
func filterParameters() []string {
	return []string{"route", "subject", "reason", "status", "min_attempts", "state", "fingerprint", "q", "since", "until"}
}

func (s *Server) listGroups(w http.ResponseWriter, r *http.Request) error {
	query, err := strictQuery(r, append(filterParameters(), "limit")...)
	if err != nil {
		return err
	}
	filter, page, err := parseFilter(query, s.now())
	if err != nil {
		return err
	}
	groups, err := s.opts.Store.Groups(r.Context(), filter, page.Limit)
	if err != nil {
		return err
	}
	hours, err := s.opts.Store.GroupHours(r.Context(), groups, filter.State, s.now())
	if err != nil {
		return err
	}
	list := make([]groupJSON, len(groups))
	for i, g := range groups {
		list[i] = groupJSON{
			Route: g.Route, Fingerprint: g.Fingerprint, Cause: g.Cause, ErrorClass: g.ErrorClass, Status: g.Status, Reason: g.Reason,
			Count: g.Count, FirstSeen: g.FirstSeen.UTC(), LastSeen: g.LastSeen.UTC(), Sample: g.Sample, Hours: hours[i],
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"groups": list})
	return nil
}

package dlqstore

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Group is all dead letters of one route that died of the same cause.
type Group struct {
	Route       string
	Fingerprint string // of the cause; Filter.Fingerprint takes it
	Cause       string // the error without ids, numbers and quoted strings
	ErrorClass  string
	Status      int // the answers' HTTP status; 0: there was none
	// Reason is the newest one's: the same cause may end a delivery in several ways.
	Reason    Reason
	Count     int
	FirstSeen time.Time // the earliest of their failures
	LastSeen  time.Time
	Sample    string // id of the newest of them
}

const (
	defaultGroups = 50
	maxGroups     = 500
)

func (s *store) Groups(ctx context.Context, f Filter, limit int) ([]Group, error) {
	if limit <= 0 {
		limit = defaultGroups
	}
	limit = min(limit, maxGroups)
	w, err := s.search(f, "")
	if err != nil {
		return nil, err
	}
	// What a search found is found once.
	with, table, chosen := "", "dead_letters", w.sql()
	if w.looked != "" {
		with = `WITH found AS MATERIALIZED (SELECT id, route, fingerprint, failed_at FROM ` + w.from() + w.sql() + `) `
		table, chosen, w.parts = "found", "", nil
	}
	w.add(`route = g.route AND fingerprint = g.fingerprint`)
	//nolint:gosec // constants and the numbers of parameters
	query := with + `SELECT d.route, d.fingerprint, d.cause, d.error_class, d.status, g.n, g.first_seen, g.last_seen, d.id, d.reason
		FROM (SELECT g.n, g.first_seen, g.last_seen, (SELECT id FROM ` + table + w.sql() + ` ORDER BY failed_at DESC, id DESC LIMIT 1) AS sample
			FROM (SELECT route, fingerprint, count(*) AS n, min(failed_at) AS first_seen, max(failed_at) AS last_seen
				FROM ` + table + chosen + ` GROUP BY route, fingerprint
				ORDER BY n DESC, route, fingerprint LIMIT ` + strconv.Itoa(limit) + `) AS g) AS g
		JOIN dead_letters AS d ON d.id = g.sample
		ORDER BY g.n DESC, d.route, d.fingerprint`
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	groups, err := collect(rows, err, func(s scanner) (g Group, err error) {
		err = s.Scan(&g.Route, &g.Fingerprint, &g.Cause, &g.ErrorClass, &g.Status, &g.Count, (*stamp)(&g.FirstSeen),
			(*stamp)(&g.LastSeen), &g.Sample, &g.Reason)
		return g, err
	})
	if err != nil {
		return nil, fmt.Errorf("group dead letters by cause: %w", err)
	}
	return groups, nil
}

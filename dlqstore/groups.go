package dlqstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// Hours is how many hours GroupHours tells apart.
const Hours = 24

const (
	defaultGroups = 50
	maxGroups     = 500
)

func (s *store) Groups(ctx context.Context, f Filter, limit int) ([]Group, error) {
	if limit <= 0 {
		limit = defaultGroups
	}
	w, counts := s.where(f), countable(f)
	if !counts {
		var err error
		if w, err = s.search(ctx, f, "", searchDepth); err != nil {
			return nil, err
		}
	}
	// A part is what of a group is of one kind. Of what was looked at the first and the
	// last are known, of what was only counted the index tells them.
	of := strings.Join(append(w.parts, ofKind("part")), ` AND `)
	var parts, first, last string
	if counts {
		parts = `SELECT ` + kindColumns + `, CAST(sum(n) AS bigint) AS n FROM ` + tally(&w.args, f, time.Now()) +
			` GROUP BY ` + kindColumns + ` HAVING sum(n) > 0`
		first = `(SELECT failed_at FROM dead_letters WHERE ` + of + ` ORDER BY failed_at LIMIT 1)`
		last = `(SELECT failed_at FROM dead_letters WHERE ` + of + ` ORDER BY failed_at DESC LIMIT 1)`
	} else {
		parts = `SELECT ` + kindColumns + `, count(*) AS n, min(failed_at) AS oldest, max(failed_at) AS newest
			FROM ` + w.from() + w.sql() + ` GROUP BY ` + kindColumns
		first, last = `oldest`, `newest`
	}
	//nolint:gosec // constants and the numbers of parameters
	query := `WITH parts AS MATERIALIZED (` + parts + `),
		largest AS (SELECT route, fingerprint FROM parts GROUP BY route, fingerprint
			ORDER BY sum(n) DESC, route, fingerprint LIMIT ` + strconv.Itoa(min(limit, maxGroups)) + `),
		seen AS (SELECT part.route, part.fingerprint, status, reason, state, n, ` + first + ` AS first_seen, ` + last + ` AS last_seen
			FROM parts AS part JOIN largest ON largest.route = part.route AND largest.fingerprint = part.fingerprint)
		SELECT d.route, d.fingerprint, d.cause, d.error_class, d.status, n, first_seen, last_seen, d.id, d.reason
		FROM (SELECT n, first_seen, last_seen,
				(SELECT max(id) FROM dead_letters WHERE ` + of + ` AND failed_at = part.last_seen) AS sample
			FROM seen AS part) AS p
		JOIN dead_letters AS d ON d.id = sample
		ORDER BY d.route, d.fingerprint, last_seen, d.id`
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	list, err := collect(rows, err, func(s scanner) (g Group, err error) {
		err = s.Scan(&g.Route, &g.Fingerprint, &g.Cause, &g.ErrorClass, &g.Status, &g.Count, (*stamp)(&g.FirstSeen),
			(*stamp)(&g.LastSeen), &g.Sample, &g.Reason)
		return g, err
	})
	if err != nil {
		return nil, fmt.Errorf("group dead letters by cause: %w", err)
	}
	return joinKinds(list), nil
}

// joinKinds makes one group of its parts, one for each kind. They stand one after the
// other, the one with the newest dead letter last.
func joinKinds(parts []Group) []Group {
	var groups []Group
	for _, next := range parts {
		i := len(groups) - 1
		if i < 0 || groups[i].Route != next.Route || groups[i].Fingerprint != next.Fingerprint {
			groups = append(groups, next)
			continue
		}
		next.Count += groups[i].Count
		if groups[i].FirstSeen.Before(next.FirstSeen) {
			next.FirstSeen = groups[i].FirstSeen
		}
		groups[i] = next
	}
	slices.SortStableFunc(groups, func(a, b Group) int { return cmp.Compare(b.Count, a.Count) })
	return groups
}

// GroupHours counts by the clock's hours (UTC).
func (s *store) GroupHours(ctx context.Context, groups []Group, state State, now time.Time) ([][Hours]int, error) {
	first := now.Truncate(time.Hour).Add(-(Hours - 1) * time.Hour)
	causes := make([]string, len(groups))
	for i, g := range groups {
		causes[i] = g.Fingerprint
	}
	w := &conditions{}
	whereKind(w, Filter{State: state})
	whereTime(w, "bucket", first, time.Time{})
	w.add(fmt.Sprintf(s.dialect.isOneOf, "fingerprint", w.number(string(mustJSON(causes)))))
	type part struct {
		route, fingerprint string
		bucket             time.Time
		n                  int
	}
	//nolint:gosec // constants and the numbers of parameters
	query := `SELECT route, fingerprint, bucket, CAST(sum(n) AS bigint) FROM dead_letter_counts` + w.sql() +
		` GROUP BY route, fingerprint, bucket`
	rows, err := s.read.QueryContext(ctx, query, w.args...)
	parts, err := collect(rows, err, func(s scanner) (p part, err error) {
		err = s.Scan(&p.route, &p.fingerprint, (*stamp)(&p.bucket), &p.n)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("count groups of dead letters by the hour: %w", err)
	}
	hours := make([][Hours]int, len(groups))
	for _, p := range parts {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Route == p.route && g.Fingerprint == p.fingerprint })
		if hour := int(p.bucket.Sub(first) / time.Hour); i >= 0 && hour < Hours {
			hours[i][hour] = p.n
		}
	}
	return hours, nil
}

package dlqstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A kind is what the table of counts tells apart: a route, a cause, a status, a reason
// and a state. There are some hundreds of kinds however many dead letters there are, the
// counts name those that a filter chooses, and the index dead_letters_by_kind has each in
// the order of time. So what few dead letters two filters have in common is found without
// looking through those of one of them.
const kindColumns = `route, fingerprint, status, reason, state`

// ofKind joins a row of dead_letters with one of the kinds.
func ofKind(kind string) string {
	columns := strings.Split(kindColumns, ", ")
	for i, column := range columns {
		columns[i] = column + ` = ` + kind + `.` + column
	}
	return strings.Join(columns, ` AND `)
}

// whereKinds chooses the newest dead letters of a filter's kinds that meet the conditions
// so far, limit of them. It looks at the newest of each kind, and then at as many of no
// more than limit kinds.
func (s *store) whereKinds(w *conditions, f Filter, limit int) {
	newest := func(kind string, n int) string {
		of := strings.Join(append(slices.Clip(w.parts), ofKind(kind)), ` AND `)
		return ` FROM dead_letters WHERE ` + of + ` ORDER BY failed_at DESC, id DESC LIMIT ` + strconv.Itoa(n)
	}
	chosen := &conditions{args: w.args}
	whereKind(chosen, f)
	w.args = chosen.args
	ids := `WITH kinds AS (SELECT ` + kindColumns + ` FROM dead_letter_counts` + chosen.sql() + `
			GROUP BY ` + kindColumns + ` HAVING sum(n) > 0),
		heads AS MATERIALIZED (SELECT ` + kindColumns + `, (SELECT id` + newest("kinds", 1) + `) AS head FROM kinds),
		near AS (SELECT ` + kindColumns + ` FROM heads WHERE head IS NOT NULL
			ORDER BY (SELECT failed_at FROM dead_letters WHERE id = head) DESC, head DESC LIMIT ` + strconv.Itoa(limit) + `)
		` + s.dialect.newestOf("near", `SELECT failed_at, id`+newest("near", limit)) + ` LIMIT ` + strconv.Itoa(limit)
	w.add(fmt.Sprintf(s.dialect.isOneChosen, "id", ids))
}

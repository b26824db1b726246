package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// delivery is all that was seen of one delivery.
type delivery struct {
	Published
	key      Key
	requests []Request
	accepted int // requests of its first life that were answered with a 2xx
	dead     map[life]int
	rows     []Row
}

// life is one life of a delivery as the dead-letter stream names it.
type life struct {
	id     string
	replay int
}

// Check sorts the deliveries into those that were delivered, are dead, are pending, or
// are lost, and finds what may never be.
func Check(f Facts) *Report {
	r := &Report{Dead: map[string]int{}, Extra: map[int]int{}}
	all := deliveries(f.Published)
	r.Deliveries = len(all)
	file(r, all, f)
	for _, d := range sorted(all) {
		r.judge(d, f.DeadStreamGone)
	}
	r.findPending(all, f.Consumers)
	r.compareAttempts(all, f.Attempts)
	return r
}

func deliveries(published []Published) map[Key]*delivery {
	all := map[Key]*delivery{}
	for _, p := range published {
		for _, route := range p.Routes {
			k := Key{route, p.Subject}
			all[k] = &delivery{Published: p, key: k, dead: map[life]int{}}
		}
	}
	return all
}

// file puts each fact to its delivery, and compares its bytes on the way.
func file(r *Report, all map[Key]*delivery, f Facts) {
	find := func(k Key, what string) *delivery {
		d := all[k]
		if d == nil {
			r.problem("%s of a delivery that was never published: %s on %s", what, k.Route, k.Subject)
		}
		return d
	}
	same := func(k Key, what string, got, want Sum) {
		if got != want {
			r.problem("%s of %s on %s has other bytes: SHA-256 %x, published %x", what, k.Route, k.Subject, got[:4], want[:4])
		}
	}
	for _, q := range f.Requests {
		d := find(q.Key, "a request")
		if d == nil {
			continue
		}
		same(q.Key, "a request", q.Sum, d.Sum)
		if !d.Gone && (q.Stream != d.Stream || q.Sequence != d.Sequence) {
			r.problem("a request of %s on %s names sequence %d of %s, published as %d of %s",
				q.Route, q.Subject, q.Sequence, q.Stream, d.Sequence, d.Stream)
		}
		d.requests = append(d.requests, q)
		if q.Accepted() && !q.Replay {
			d.accepted++
		}
	}
	for _, m := range f.Dead {
		if d := find(m.Key, "a dead letter in the stream"); d != nil {
			d.dead[life{m.ID, m.Replay}]++
			if !m.Reference {
				same(m.Key, "the dead letter in the stream", m.Sum, d.Sum)
			}
		}
	}
	for _, row := range f.Rows {
		if d := find(row.Key, "a row"); d != nil {
			d.rows = append(d.rows, row)
			same(row.Key, "the row", row.Sum, d.Sum)
		}
	}
}

// judge counts a delivery where it belongs. One without a place goes to Lost, from
// where findPending takes those that JetStream still has.
func (r *Report) judge(d *delivery, streamGone bool) {
	if d.accepted > 0 {
		r.Delivered++
	}
	if extra := d.extra(); extra > 0 {
		r.Duplicated++
		r.Extra[extra]++
	}
	r.oneDeath(d, streamGone)
	if len(d.rows) > 0 {
		r.Dead[d.rows[0].Reason]++
		if d.accepted > 0 {
			r.Both++
		}
	}
	switch {
	case d.accepted > 0 || len(d.rows) > 0 || len(d.dead) > 0:
	case d.Gone:
		r.Gone++
	default:
		r.Lost = append(r.Lost, d.key)
	}
}

// extra counts the requests of the first life that came after its first 2xx.
func (d *delivery) extra() (n int) {
	seen := false
	for _, q := range d.requests {
		if q.Replay {
			continue
		}
		if seen {
			n++
		}
		seen = seen || q.Accepted()
	}
	return n
}

// oneDeath holds a dead letter to one message a life and one row, which agree.
func (r *Report) oneDeath(d *delivery, streamGone bool) {
	for l, n := range d.dead {
		if n > 1 {
			r.problem("%s on %s has %d messages in the dead-letter stream for its life %d", d.key.Route, d.key.Subject, n, l.replay)
		}
		if !slices.ContainsFunc(d.rows, func(row Row) bool { return row.ID == l.id }) {
			r.problem("%s on %s is in the dead-letter stream as %s and not in the table", d.key.Route, d.key.Subject, l.id)
		}
	}
	if len(d.rows) > 1 {
		r.problem("%s on %s has %d rows", d.key.Route, d.key.Subject, len(d.rows))
	}
	for _, row := range d.rows {
		if !streamGone && d.dead[life{row.ID, 0}] == 0 {
			r.problem("%s on %s has a row and no message in the dead-letter stream", d.key.Route, d.key.Subject)
		}
		replayed := slices.ContainsFunc(d.requests, func(q Request) bool { return q.Replay && q.Accepted() })
		switch {
		case row.State == "delivered" && !replayed:
			r.problem("%s on %s is delivered in the table, and no replay was accepted", d.key.Route, d.key.Subject)
		case row.State == "replaying":
			r.problem("%s on %s is still replaying", d.key.Route, d.key.Subject)
		}
	}
}

// findPending takes out of Lost what lies above its consumer's floor, as far as the
// consumer knows of that many.
func (r *Report) findPending(all map[Key]*delivery, consumers []Consumer) {
	left, floor := map[string]uint64{}, map[string]uint64{}
	for _, c := range consumers {
		left[c.Route], floor[c.Route] = c.Unsettled, c.Floor
	}
	r.Lost = slices.DeleteFunc(r.Lost, func(k Key) bool {
		if left[k.Route] == 0 || all[k].Sequence <= floor[k.Route] {
			return false
		}
		left[k.Route]--
		r.Pending++
		return true
	})
}

// compareAttempts holds the attempts in the table against the requests: by number in a
// delivery's first life, by count in its replays, whose number no request bears.
func (r *Report) compareAttempts(all map[Key]*delivery, attempts []Attempt) {
	type number struct {
		id     string
		number int
	}
	seen, failed, replays := map[number]int{}, map[number]bool{}, map[string]int{}
	for _, d := range all {
		for _, q := range d.requests {
			if q.Replay {
				replays[q.ID]++
				continue
			}
			n := number{q.ID, q.Attempt}
			seen[n]++
			if !q.Accepted() {
				failed[n] = true
			}
		}
	}
	recorded := map[number]bool{}
	for _, a := range attempts {
		if a.Replay > 0 {
			replays[a.ID]--
			continue
		}
		n := number{a.ID, a.Number}
		recorded[n] = recorded[n] || a.Failed
		if seen[n] == 0 {
			r.Unseen++
		}
	}
	for n := range failed {
		if !recorded[n] {
			r.Unrecorded++
		}
	}
	for _, n := range seen {
		r.Repeated += n - 1
	}
	for _, n := range replays {
		r.Unrecorded += max(n, 0)
		r.Unseen += max(-n, 0)
	}
}

func sorted(all map[Key]*delivery) []*delivery {
	return slices.SortedFunc(maps.Values(all), func(a, b *delivery) int {
		return cmp.Or(cmp.Compare(a.key.Subject, b.key.Subject), cmp.Compare(a.key.Route, b.key.Route))
	})
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

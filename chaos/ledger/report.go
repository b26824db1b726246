package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report is what became of the deliveries of a run.
type Report struct {
	Deliveries int // messages times routes
	Delivered  int // a receiver answered with a 2xx
	Duplicated int // requests came after a 2xx
	// Extra tells how many deliveries had so many requests after their first 2xx.
	Extra map[int]int
	// Dead counts the rows by their reason.
	Dead map[string]int
	// Both counts deliveries that were accepted and are dead: relay was ended, or cut
	// off, between the answer and its settling, and a later attempt failed.
	Both    int
	Pending int // JetStream still has them
	Gone    int // the run took them out of their stream before they were delivered
	// Lost are in no receiver, no table, no dead-letter stream and no consumer.
	Lost []Key

	// Unrecorded counts failed requests that the table of attempts has no row for,
	// Unseen rows that no receiver saw a request for, Repeated requests that bore the
	// number of one before them.
	Unrecorded, Unseen, Repeated int

	// Problems are sentences about what may never be, whatever the fault: changed
	// bytes, two rows, a dead letter without its row.
	Problems []string
}

// Fit says how closely the attempts in the table have to fit the requests.
type Fit int

// How closely they have to fit. Crashed and Unreached may be joined.
const (
	// Exact: one row for each failed request, and one number for each request.
	Exact Fit = 0
	// Crashed lets a failed request go without a row, and two requests bear one number:
	// so it is when a process is killed, or cut off from NATS, between an answer and its
	// event.
	Crashed Fit = 1 << iota
	// Unreached lets a row go without a request: the receiver could not be reached, or
	// closed the connection before it read it.
	Unreached
)

// Err is nil when nothing is lost, pending or wrong, and the attempts fit as closely
// as they have to.
func (r *Report) Err(fit Fit) error {
	var errs []error
	if n := len(r.Lost); n > 0 {
		errs = append(errs, fmt.Errorf("LOST %d deliveries: %s", n, some(r.Lost)))
	}
	if r.Pending > 0 {
		errs = append(errs, fmt.Errorf("%d deliveries are not settled", r.Pending))
	}
	if n := len(r.Problems); n > 0 {
		errs = append(errs, fmt.Errorf("%d problems: %s", n, some(r.Problems)))
	}
	if fit&Crashed == 0 && r.Unrecorded+r.Repeated > 0 {
		errs = append(errs, fmt.Errorf("%d failed requests have no attempt in the table, %d bear the number of another", r.Unrecorded, r.Repeated))
	}
	if fit&Unreached == 0 && r.Unseen > 0 {
		errs = append(errs, fmt.Errorf("%d attempts in the table have no request", r.Unseen))
	}
	return errors.Join(errs...)
}

// String is the report in one line.
func (r *Report) String() string {
	var b strings.Builder
	extra := 0
	for n, count := range r.Extra {
		extra += n * count
	}
	fmt.Fprintf(&b, "%d deliveries: %d delivered, %d duplicated (%d requests more", r.Deliveries, r.Delivered, r.Duplicated, extra)
	if most := slices.Sorted(maps.Keys(r.Extra)); len(most) > 0 {
		fmt.Fprintf(&b, ", at most %d for one", most[len(most)-1])
	}
	dead := r.dead()
	fmt.Fprintf(&b, "), %d dead", dead)
	separator := " ("
	for _, reason := range slices.Sorted(maps.Keys(r.Dead)) {
		fmt.Fprintf(&b, "%s%s %d", separator, reason, r.Dead[reason])
		separator = ", "
	}
	if dead > 0 {
		b.WriteString(")")
	}
	fmt.Fprintf(&b, ", %d both, %d gone, %d pending, %d LOST; attempts: %d unrecorded, %d unseen, %d repeated; %d problems",
		r.Both, r.Gone, r.Pending, len(r.Lost), r.Unrecorded, r.Unseen, r.Repeated, len(r.Problems))
	return b.String()
}

func (r *Report) dead() (n int) {
	for _, some := range r.Dead {
		n += some
	}
	return n
}

// Brief is the report for people who compare many: the counts of deliveries alone.
func (r *Report) Brief() string {
	text := fmt.Sprintf("%d deliveries: %d delivered, %d dead, %d duplicated", r.Deliveries, r.Delivered, r.dead(), r.Duplicated)
	if r.Gone > 0 {
		text += fmt.Sprintf(", %d gone", r.Gone)
	}
	if r.Pending > 0 {
		text += fmt.Sprintf(", %d pending", r.Pending)
	}
	return fmt.Sprintf("%s, %d lost", text, len(r.Lost))
}

// some writes the first of many.
func some[T any](all []T) string {
	const most = 5
	var parts []string
	for _, v := range all[:min(len(all), most)] {
		parts = append(parts, fmt.Sprintf("%v", v))
	}
	if len(all) > most {
		parts = append(parts, "…")
	}
	return strings.Join(parts, "; ")
}

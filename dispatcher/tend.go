package dispatcher

import (
	"context"
	"errors"
	"time"
)

// tend reads the consumers' figures at a steady pace, looks for orphans and, while
// some stream is not as it should be, tries again. At the start the routes read their
// own figures, and Prepare has seen to the streams.
func (d *Dispatcher) tend(ctx context.Context) {
	for n := 1; sleep(ctx, max(2*time.Second, time.Duration(len(d.running()))*20*time.Millisecond)) == nil; n++ {
		look := n%streamsEvery == 0
		for _, r := range d.running() {
			if ctx.Err() != nil {
				return
			}
			if r.answers() {
				r.poll(ctx)
			}
			look = look || r.lacksDeadLetters()
		}
		if look && d.applying.TryLock() { // an Apply sees to the streams itself
			d.Prepare(ctx)
			d.applying.Unlock()
		}
		if n%streamsEvery == 0 || d.lookForOrphans.Swap(false) {
			d.findOrphans(ctx)
		}
	}
}

// answers says that JetStream answered the live lane's last look. Else a question for the
// figures would take its whole time limit, and all other routes' would wait for it; the
// lane's next look reads them.
func (r *route) answers() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var t *trouble
	return r.looked && (r.laneTrouble[r.live] == nil || errors.As(r.laneTrouble[r.live], &t))
}

// lacksDeadLetters says that a dead letter could not be stored: perhaps its stream is gone.
func (r *route) lacksDeadLetters() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deadTrouble != nil
}

// findOrphans keeps the last list when the server does not answer: it is for the page.
func (d *Dispatcher) findOrphans(ctx context.Context) {
	orphans, err := findOrphans(ctx, d.shared.js, d.shared.file())
	if err != nil {
		d.shared.log.Debug("orphans not looked for", "err", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orphans = orphans
}

// streamsEvery is how many rounds of figures pass between two looks at the streams.
const streamsEvery = 15

package dispatcher

import (
	"slices"
	"sync"
	"time"
)

// crew does jobs in the order in which they come, on a bounded number of goroutines
// that it keeps for a moment after their last one. A goroutine of its own for each
// message would grow a new stack for each POST, which is 6 % of the hot path's CPU time
// (measured); an idle route still has none.
type crew struct {
	do   func(*delivery)
	most int

	mu      sync.Mutex
	queue   []*delivery // while every member is busy
	parked  []chan *delivery
	members int
	ended   bool
	gone    sync.WaitGroup
}

// crewIdle is how long a member waits for its next job.
const crewIdle = 5 * time.Second

// newCrew returns a crew of at most so many members.
func newCrew(most int, do func(*delivery)) *crew { return &crew{do: do, most: most} }

// hand gives the job to the member that was busy last, to a new one, or to the first
// that will be free. It does not block.
func (c *crew) hand(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch last := len(c.parked) - 1; {
	case last >= 0:
		c.parked[last] <- d // it has room for the one job
		c.parked = c.parked[:last]
	case c.members < c.most:
		c.members++
		c.gone.Go(func() { c.work(d) })
	default:
		c.queue = append(c.queue, d)
	}
}

func (c *crew) work(d *delivery) {
	mine := make(chan *delivery, 1)
	idle := time.NewTimer(crewIdle)
	defer idle.Stop()
	for ; d != nil; d = c.next(mine, idle) {
		c.do(d)
	}
}

// next waits for a member's next job; nil: it may go.
func (c *crew) next(mine chan *delivery, idle *time.Timer) *delivery {
	c.mu.Lock()
	if len(c.queue) > 0 {
		d := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.mu.Unlock()
		return d
	}
	if c.ended {
		c.mu.Unlock()
		return nil
	}
	c.parked = append(c.parked, mine)
	c.mu.Unlock()

	idle.Reset(crewIdle)
	select {
	case d := <-mine:
		return d
	case <-idle.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.Index(c.parked, mine)
	if at < 0 {
		return <-mine // it was handed one just now
	}
	c.parked = slices.Delete(c.parked, at, at+1)
	c.members--
	return nil
}

// end returns when every job is done. Nothing may be handed in any more.
func (c *crew) end() {
	c.mu.Lock()
	c.ended = true
	for _, p := range c.parked {
		p <- nil
	}
	c.parked = nil
	c.mu.Unlock()
	c.gone.Wait()
}

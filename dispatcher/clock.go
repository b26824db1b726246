package dispatcher

import (
	"sync/atomic"
	"time"
)

// serverClock tells the time of the NATS servers, as of their last answer. They stamp
// the messages, so that the age of one is counted by their clock: this machine's may
// be off, or jump.
type serverClock struct{ last atomic.Pointer[reading] }

// reading is what two clocks said at one moment.
type reading struct{ server, here time.Time }

// set takes the time that an answer tells, which came just now. The zero time, of a
// server that tells none, changes nothing.
func (c *serverClock) set(server time.Time) {
	if !server.IsZero() {
		c.last.Store(&reading{server, time.Now()})
	}
}

// now is this machine's own time until an answer told another.
func (c *serverClock) now() time.Time {
	r := c.last.Load()
	if r == nil {
		return time.Now()
	}
	return r.server.Add(time.Since(r.here)) // which is monotonic
}

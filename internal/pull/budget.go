package pull

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes of the messages that the pullers of a process have in hand
// or on their way. Each puller has a small share that nobody else can take, so that a
// flood on one route does not keep another one waiting; what it needs above that
// comes from the common rest, first come, first served.
//
// It is exceeded in one case only, and then by one message: when that message alone
// is larger than the common rest.
type Budget struct {
	share  int64 // of one puller
	common int64 // the smallest that shares leave of the rest
	inHand atomic.Int64

	mu     sync.Mutex
	shares int64 // that may still be given to pullers
	free   int64 // of the common rest; below zero after an overdraft
	asked  int64 // of the common rest: max_bytes of requests at the server
	queue  []*Puller
}

// mostAsked bounds what requests at the server may bring at once, above the shares. A
// server drops a client for whom it has more than its max_pending to send (64 MiB unless
// configured otherwise), and all that was on its way comes again after its AckWait
// (seen with 1,000 messages of 1 MiB: five times on the way to the last one).
const mostAsked = 16 << 20

// sharesOf is into how many shares a budget could be split. Half of them are given to
// pullers, one each; further pullers live off the common rest.
const sharesOf = 4096

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{share: bytes / sharesOf, shares: sharesOf / 2, free: bytes}
	b.common = bytes - b.shares*b.share
	return b
}

// InHand is the size of the messages that were handled and not released.
func (b *Budget) InHand() int64 { return b.inHand.Load() }

// join gives a puller its share, and leave takes it back.
func (b *Budget) join() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shares == 0 {
		return 0
	}
	b.shares--
	b.free -= b.share
	return b.share
}

func (b *Budget) leave(share int64) {
	if share == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares++
	b.free += share
	b.wake()
}

// room says whether n bytes are free, or all of a smaller common rest. It draws none.
// When there are not, the puller is woken when its turn has come.
func (b *Budget) room(p *Puller, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.turn(p) || b.free < min(n, b.common) {
		b.enqueue(p)
		return false
	}
	b.dequeue(p)
	return true
}

// take draws up to n bytes, and at least least, from the common rest. It returns 0
// when there are not enough; then the puller is woken when its turn has come.
func (b *Budget) take(p *Puller, n, least int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	// One request takes no more than a quarter of what is left, if that will do.
	n = max(least, min(n, b.free/4, mostAsked-b.asked))
	if !b.turn(p) || b.free < min(n, b.common) || (b.asked > 0 && b.asked+n > mostAsked) {
		b.enqueue(p)
		return 0
	}
	b.free -= n
	b.asked += n
	b.dequeue(p)
	return n
}

// change moves drawn bytes out of the common rest without asking whether they are there,
// or back into it when they are negative. asked is what requests at the server hold more
// or less of it.
func (b *Budget) change(drawn, asked int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free -= drawn
	b.asked += asked
	if drawn < 0 || asked < 0 {
		b.wake()
	}
}

// forget takes a puller that wants nothing any more out of the queue.
func (b *Budget) forget(p *Puller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dequeue(p)
}

// turn says that no other puller waits before this one. The lock is held.
func (b *Budget) turn(p *Puller) bool { return len(b.queue) == 0 || b.queue[0] == p }

// enqueue lets the puller wait for its turn. The lock is held.
func (b *Budget) enqueue(p *Puller) {
	if !slices.Contains(b.queue, p) {
		b.queue = append(b.queue, p)
	}
}

// dequeue removes the puller, and lets the next one look. The lock is held.
func (b *Budget) dequeue(p *Puller) {
	if i := slices.Index(b.queue, p); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
		b.wake()
	}
}

// wake tells the first in the queue to look again. The lock is held.
func (b *Budget) wake() {
	if len(b.queue) == 0 {
		return
	}
	select {
	case b.queue[0].wake <- struct{}{}:
	default: // it was told already
	}
}

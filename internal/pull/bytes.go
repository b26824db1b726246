package pull

// bytesHeld is a puller's part in the budget. The sizes are those that the server
// counts against max_bytes: subject, reply, headers and payload.
type bytesHeld struct {
	share    int64 // of the budget, while a session runs: the puller's own
	reserved int64 // max_bytes of the requests at the server
	inHand   int64
	typical  int64 // size of one message, kept above the recent ones
	tooLarge int   // requests in a row that ended because a message did not fit
	queued   bool  // waits for the common rest
}

const (
	firstGuess = 2 << 10 // size of a message, before one was seen
	// overhead is what a message counts for besides headers and payload, at most.
	overhead       = 8 << 10
	defaultPayload = 1 << 20 // the server's max_payload, while none is known
)

// All of what follows is called with the puller's lock held.

func (p *Puller) bytesBegin() {
	if p.o.Budget == nil {
		return
	}
	p.bytes.typical = max(p.bytes.typical, firstGuess)
	p.changeBytes(func(b *bytesHeld) { b.share = p.o.Budget.join() })
}

// bytesFinish gives back what the requests held; they end with the session.
func (p *Puller) bytesFinish() {
	if p.o.Budget == nil {
		return
	}
	p.bytesUnwanted()
	share := p.bytes.share
	p.changeBytes(func(b *bytesHeld) { b.share, b.reserved, b.tooLarge = 0, 0, 0 })
	p.o.Budget.leave(share)
}

// bytesReserve sets the request's max_bytes to what the budget has for it. It returns
// false when that is nothing: the request has to wait for the budget's word.
//
// A puller with nothing in hand asks within its share, so that a thousand idle ones
// hold little; only when the server says that a message does not fit does it ask for
// the size that the server takes at most, and for twice as much each time that this
// was not enough (messages stored under another max_payload).
func (p *Puller) bytesReserve(r *request) bool {
	b := &p.bytes
	if p.o.Budget == nil {
		return true
	}
	own := max(0, b.share-b.reserved-b.inHand)
	want, least := int64(r.Batch)*b.typical*3/2, b.typical
	switch {
	case b.tooLarge > 0:
		least = p.largest() << min(b.tooLarge-1, 8)
		want = max(want, least)
	case b.inHand == 0 && b.share > 0:
		if p.asked > 0 && own < least {
			return false // a request waits already
		}
		want = min(want, own)
		least = want
	}
	asked := b.asked()
	if want > own {
		taken := p.o.Budget.take(p, want-own, max(1, least-own))
		b.queued = taken == 0
		if b.queued {
			return false
		}
		want = own + taken
		asked += taken
		r.Expires, r.Heartbeat = briefly, briefly/2
	}
	p.bytesUnwanted()
	r.MaxBytes = want
	b.reserved += want // what it takes of the common rest is drawn already
	p.o.Budget.change(0, b.asked()-asked)
	return true
}

// bytesCame turns what was reserved for a message into what is in hand of it.
func (p *Puller) bytesCame(size int, asked bool) {
	if p.o.Budget == nil {
		return
	}
	n := int64(size)
	p.o.Budget.inHand.Add(n)
	p.changeBytes(func(b *bytesHeld) {
		b.inHand += n
		b.tooLarge = 0
		b.typical = max(n, firstGuess/4, b.typical-(b.typical-n)/32)
		if asked {
			b.reserved = max(0, b.reserved-n)
		}
	})
	p.bytesEven()
}

// bytesEnded takes back what was left of a request's max_bytes when it ended.
func (p *Puller) bytesEnded(left int64, tooLarge bool) {
	if p.o.Budget == nil {
		return
	}
	p.changeBytes(func(b *bytesHeld) {
		b.reserved = max(0, b.reserved-left)
		if tooLarge {
			b.tooLarge++
		} else if left > 0 {
			b.tooLarge = 0
		}
	})
	p.bytesEven()
}

// bytesEven squares the two counts. A request whose max_bytes came out even ends
// without a word from the server, whatever is missing of its batch; and no request at
// the server holds no bytes.
func (p *Puller) bytesEven() {
	switch {
	case p.bytes.reserved == 0:
		p.asked = 0
	case p.asked == 0:
		p.changeBytes(func(b *bytesHeld) { b.reserved = 0 })
	}
}

func (p *Puller) bytesUnasked(maxBytes int64) {
	if p.o.Budget != nil {
		p.changeBytes(func(b *bytesHeld) { b.reserved = max(0, b.reserved-maxBytes) })
	}
}

func (p *Puller) bytesReleased(size int) {
	if p.o.Budget == nil {
		return
	}
	p.o.Budget.inHand.Add(-int64(size))
	p.changeBytes(func(b *bytesHeld) { b.inHand -= int64(size) })
}

// bytesRoom says whether a push consumer may send on. If not, the budget says when.
func (p *Puller) bytesRoom() bool {
	if p.o.Budget == nil {
		return true
	}
	if p.bytes.inHand > 0 && !p.o.Budget.room(p, mostUnasked) {
		p.bytes.queued = true
		return false
	}
	p.bytesUnwanted()
	return true
}

// bytesUnwanted leaves the queue for the common rest.
func (p *Puller) bytesUnwanted() {
	if p.bytes.queued {
		p.bytes.queued = false
		p.o.Budget.forget(p)
	}
}

// changeBytes changes what is held and draws from the common rest, or gives back to
// it, by how much more or less of it that takes.
func (p *Puller) changeBytes(change func(*bytesHeld)) {
	drawn, asked := p.bytes.drawn(), p.bytes.asked()
	change(&p.bytes)
	drawn, asked = p.bytes.drawn()-drawn, p.bytes.asked()-asked
	if drawn != 0 || asked != 0 {
		p.o.Budget.change(drawn, asked)
	}
}

// drawn is what is held above the share.
func (b *bytesHeld) drawn() int64 { return max(0, b.reserved+b.inHand-b.share) }

// asked is what requests at the server hold above the share.
func (b *bytesHeld) asked() int64 { return max(0, b.reserved-b.share) }

// largest is the size of the largest message that the server takes.
func (p *Puller) largest() int64 {
	if n := p.o.Conn.MaxPayload(); n > 0 {
		return n + overhead
	}
	return defaultPayload + overhead
}

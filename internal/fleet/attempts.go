package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// Bounds of the last attempts.
const (
	maxAttempts      = 50
	maxAttemptsBytes = 4 << 20                // of one process, unpacked
	attemptsWithin   = 500 * time.Millisecond // a process that has not answered by then is left out
)

// Local is what this process remembers of its attempts. It is safe for concurrent use.
type Local interface {
	// Attempts are the last ones on a route, the newest first.
	Attempts(route string) []Attempt
	// Failures are the last ones of the routes that had any.
	Failures() map[string]Failure
}

// Attempt is one of the last attempts on a route.
type Attempt struct {
	At        time.Time     `json:"at"` // of its end
	ID        string        `json:"id"` // of the delivery
	Subject   string        `json:"subject"`
	Number    int           `json:"number"` // counted from 1
	Status    int           `json:"status"` // 0: there was no answer
	Error     string        `json:"error"`
	Duration  time.Duration `json:"duration"`
	Delivered bool          `json:"delivered"` // the answer ended the delivery well
	Instance  string        `json:"instance"`  // of the process that made it; a Local leaves it empty
}

// Failure is the last error of a route.
type Failure struct {
	Error string    `json:"error"`
	At    time.Time `json:"at"`
}

// attempts is what a process answers when it is asked for a route's.
type attempts struct {
	ID       string    `json:"id"`
	Attempts []Attempt `json:"attempts"`
}

// Attempts are the last 50 on a route over all processes, the newest first. It asks the
// others, and waits for at most half a second; silent is how many did not answer.
func (f *Fleet) Attempts(ctx context.Context, route string) (list []Attempt, silent int) {
	list = f.ownAttempts(route)
	f.mu.Lock()
	id, missing := f.id, make(map[string]bool, len(f.others))
	for other := range f.others {
		missing[other] = true
	}
	f.mu.Unlock()
	if len(missing) == 0 {
		return list, 0
	}
	if err := f.askAttempts(ctx, route, answerSubject+id+"."+rand.Text(), missing, &list); err != nil {
		f.log.Debug("not all attempts of other relay processes heard", "err", err)
	}
	slices.SortStableFunc(list, func(a, b Attempt) int { return b.At.Compare(a.At) })
	return list[:min(len(list), maxAttempts)], len(missing)
}

// askAttempts adds the attempts of the processes that are missing, until none is.
func (f *Fleet) askAttempts(ctx context.Context, route, inbox string, missing map[string]bool, list *[]Attempt) error {
	ctx, cancel := context.WithTimeout(ctx, attemptsWithin)
	defer cancel()
	sub, err := f.o.Conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may have gone first
	if err := f.o.Conn.PublishRequest(attemptsSubject, inbox, []byte(route)); err != nil {
		return err
	}
	for len(missing) > 0 {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		var of attempts
		if err := unpack(msg.Data, maxAttemptsBytes, &of); err == nil && missing[of.ID] {
			delete(missing, of.ID)
			*list = append(*list, of.Attempts[:min(len(of.Attempts), maxAttempts)]...)
		}
	}
	return nil
}

// tellAttempts answers with those that this process made on the route that is asked for.
func (f *Fleet) tellAttempts(req micro.Request) {
	f.mu.Lock()
	id := f.id
	f.mu.Unlock()
	data, err := pack(attempts{id, f.ownAttempts(string(req.Data()))})
	f.respond(req, data, err)
}

func (f *Fleet) ownAttempts(route string) []Attempt {
	if f.o.Local == nil {
		return nil
	}
	list := f.o.Local.Attempts(route)
	list = slices.Clone(list[:min(len(list), maxAttempts)])
	for i := range list {
		list[i].Instance = cmp.Or(list[i].Instance, f.o.Instance)
	}
	return list
}

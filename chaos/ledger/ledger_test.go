package ledger_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"relay/chaos/ledger"
)

// sound are the facts of a run in which nothing went wrong: message 1 was accepted at
// once, 2 at its second attempt, 3 died and was replayed, 4 died. Message 5 is pending.
func sound() ledger.Facts {
	var f ledger.Facts
	for i := range 5 {
		f.Published = append(f.Published, ledger.Published{
			Subject: subject(i + 1), Stream: "ORDERS", Sequence: uint64(i + 1), Sum: sum(i + 1), Routes: []string{"billing"},
		})
	}
	f.Requests = []ledger.Request{
		request(1, 1, 204), request(2, 1, 500), request(2, 2, 200), request(3, 1, 410), request(4, 1, 0), request(4, 2, 404),
		replay(request(3, 1, 200)),
	}
	f.Dead = []ledger.Dead{dead(3), dead(4)}
	f.Rows = []ledger.Row{row(3, "delivered"), row(4, "dead")}
	f.Attempts = []ledger.Attempt{
		attempt(2, 1), attempt(3, 1), attempt(4, 1), attempt(4, 2), {ID: id(3), Route: "billing", Replay: 1, Number: 1},
	}
	f.Consumers = []ledger.Consumer{{Route: "billing", Floor: 4, Unsettled: 1}}
	return f
}

const anyFit = ledger.Crashed | ledger.Unreached

func subject(n int) string   { return fmt.Sprintf("orders.%d", n) }
func id(n int) string        { return fmt.Sprintf("msg_%d", n) }
func sum(n int) ledger.Sum   { return sha256.Sum256([]byte{byte(n)}) }
func key(n int) ledger.Key   { return ledger.Key{Route: "billing", Subject: subject(n)} }
func dead(n int) ledger.Dead { return ledger.Dead{Key: key(n), ID: id(n), Sum: sum(n)} }
func other(s *ledger.Sum)    { s[31] ^= 1 }
func remove[T any](s *[]T)   { *s = (*s)[:len(*s)-1] }
func repeat[T any](s *[]T)   { *s = append(*s, (*s)[0]) }
func replay(r ledger.Request) ledger.Request {
	r.Replay = true
	return r
}

func row(n int, state string) ledger.Row {
	return ledger.Row{Key: key(n), ID: id(n), State: state, Reason: "rejected", Sum: sum(n)}
}

func attempt(n, number int) ledger.Attempt {
	return ledger.Attempt{ID: id(n), Route: "billing", Number: number, Failed: true}
}

func request(n, attempt, status int) ledger.Request {
	return ledger.Request{
		Key: key(n), ID: id(n), Stream: "ORDERS", Sequence: uint64(n), Attempt: attempt, Sum: sum(n), Status: status,
	}
}

// settled is sound without the message that is pending.
func settled() ledger.Facts {
	f := sound()
	remove(&f.Published)
	f.Consumers[0].Unsettled = 0
	return f
}

func TestSoundRun(t *testing.T) {
	r := ledger.Check(settled())
	if err := r.Err(ledger.Exact); err != nil {
		t.Fatal(err)
	}
	const want = "4 deliveries: 2 delivered, 0 duplicated (0 requests more), 2 dead (rejected 2), 0 both, 0 gone, 0 pending, 0 LOST; " +
		"attempts: 0 unrecorded, 0 unseen, 0 repeated; 0 problems"
	if r.String() != want {
		t.Errorf("got  %s\nwant %s", r, want)
	}
}

func TestPending(t *testing.T) {
	r := ledger.Check(sound())
	if r.Pending != 1 || len(r.Lost) != 0 {
		t.Errorf("%s, want 1 pending", r)
	}
	if err := r.Err(anyFit); err == nil || !strings.Contains(err.Error(), "1 deliveries are not settled") {
		t.Errorf("the report's error is %v", err)
	}
}

// Everything that can be wrong, once each, is reported.
func TestWhatIsWrongIsReported(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *ledger.Facts)
		fit    ledger.Fit
		want   string
	}{
		{"a message that nobody has", func(f *ledger.Facts) { f.Requests = f.Requests[1:] }, anyFit, "LOST 1 deliveries: {billing orders.1}"},
		{"a message whose answers were all failures", func(f *ledger.Facts) { f.Requests[2].Status = 503 }, anyFit, "LOST 1 deliveries: {billing orders.2}"},
		{"a death of which nothing was kept", func(f *ledger.Facts) { remove(&f.Dead); remove(&f.Rows) }, anyFit, "LOST 1 deliveries: {billing orders.4}"},
		{"one of two routes", func(f *ledger.Facts) { f.Published[0].Routes = []string{"billing", "search"} }, anyFit, "LOST 1 deliveries: {search orders.1}"},
		{"pending below the floor", func(f *ledger.Facts) { *f = sound(); f.Consumers[0].Floor = 5 }, anyFit, "LOST 1 deliveries: {billing orders.5}"},
		{"pending, and the consumer has none", func(f *ledger.Facts) { *f = sound(); f.Consumers[0].Unsettled = 0 }, anyFit, "LOST 1 deliveries: {billing orders.5}"},
		{"a changed byte at the receiver", func(f *ledger.Facts) { other(&f.Requests[0].Sum) }, anyFit, "a request of billing on orders.1 has other bytes"},
		{"a changed byte in the stream", func(f *ledger.Facts) { other(&f.Dead[0].Sum) }, anyFit, "the dead letter in the stream of billing on orders.3 has other bytes"},
		{"a changed byte in the table", func(f *ledger.Facts) { other(&f.Rows[0].Sum) }, anyFit, "the row of billing on orders.3 has other bytes"},
		{"another message's sequence", func(f *ledger.Facts) { f.Requests[0].Sequence = 2 }, anyFit, "names sequence 2 of ORDERS, published as 1"},
		{"a message from nowhere", func(f *ledger.Facts) { f.Requests[0].Subject = "orders.9" }, anyFit, "a request of a delivery that was never published: billing on orders.9"},
		{"a dead letter twice in the stream", func(f *ledger.Facts) { repeat(&f.Dead) }, anyFit, "has 2 messages in the dead-letter stream"},
		{"two rows", func(f *ledger.Facts) { repeat(&f.Rows) }, anyFit, "billing on orders.3 has 2 rows"},
		{"a dead letter without its row", func(f *ledger.Facts) { remove(&f.Rows) }, anyFit, "is in the dead-letter stream as msg_4 and not in the table"},
		{"a row without its dead letter", func(f *ledger.Facts) { remove(&f.Dead) }, anyFit, "has a row and no message in the dead-letter stream"},
		{"a replay that nobody accepted", func(f *ledger.Facts) { f.Requests[6].Status = 500 }, anyFit, "is delivered in the table, and no replay was accepted"},
		{"a replay without end", func(f *ledger.Facts) { f.Rows[0].State = "replaying" }, anyFit, "is still replaying"},
		{"a failed request that is not recorded", func(f *ledger.Facts) { f.Attempts = f.Attempts[1:] }, ledger.Exact, "1 failed requests have no attempt in the table"},
		{"a replay that is not recorded", func(f *ledger.Facts) { remove(&f.Attempts) }, ledger.Exact, "1 failed requests have no attempt in the table"},
		{"a number that two requests bear", func(f *ledger.Facts) { f.Requests[2].Attempt = 1 }, ledger.Exact, "1 bear the number of another"},
		{"an attempt that nobody saw", func(f *ledger.Facts) { f.Attempts = append(f.Attempts, attempt(4, 3)) }, ledger.Crashed, "1 attempts in the table have no request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := settled()
			tt.change(&f)
			err := ledger.Check(f).Err(tt.fit)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// What a fault explains is counted, and no error.
func TestWhatIsAllowed(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *ledger.Facts)
		fit    ledger.Fit
		want   string
	}{
		{"a duplicate", func(f *ledger.Facts) { f.Requests = append(f.Requests, request(1, 2, 200), request(1, 3, 200)) }, ledger.Exact, "1 duplicated (2 requests more, at most 2 for one)"},
		{"accepted, then dead", func(f *ledger.Facts) {
			f.Requests = slices.Insert(f.Requests, 3, request(3, 1, 200))
			f.Requests[4].Attempt = 2
		}, ledger.Crashed, "1 both"},
		{"purged before it was delivered", func(f *ledger.Facts) { f.Requests = f.Requests[1:]; f.Published[0].Gone = true }, ledger.Exact, "1 gone"},
		{"a dead-letter stream that was deleted", func(f *ledger.Facts) { f.Dead, f.DeadStreamGone = nil, true }, ledger.Exact, "2 dead"},
		{"a body that stands in the table only", func(f *ledger.Facts) { f.Dead[0].Reference = true; f.Dead[0].Sum = ledger.Sum{} }, ledger.Exact, "2 dead"},
		{"a crash before the event", func(f *ledger.Facts) { f.Attempts = f.Attempts[1:] }, ledger.Crashed, "1 unrecorded"},
		{"a refused connection", func(f *ledger.Facts) { f.Attempts = append(f.Attempts, attempt(4, 3)) }, ledger.Unreached, "1 unseen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := settled()
			tt.change(&f)
			r := ledger.Check(f)
			if err := r.Err(tt.fit); err != nil {
				t.Error(err)
			}
			if !strings.Contains(r.String(), tt.want) {
				t.Errorf("got %s, want %q in it", r, tt.want)
			}
		})
	}
}

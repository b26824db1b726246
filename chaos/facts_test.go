package chaos_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"relay/chaos/ledger"
)

const deadLetters = "RELAY_DLQ"

// facts reads what stands everywhere. Everything has come to rest, or has had its time.
func (h *house) facts() ledger.Facts {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := ledger.Facts{Published: h.published(), Requests: h.receiver.since(0), DeadStreamGone: h.deadStreamGone}
	var err error
	if f.Dead, err = h.deadInStream(ctx); err != nil {
		h.t.Fatalf("read stream %s: %v", deadLetters, err)
	}
	if f.Rows, f.Attempts, err = h.table(ctx); err != nil {
		h.t.Fatalf("read the table: %v", err)
	}
	for _, route := range h.routes {
		c, err := h.consumer(ctx, route)
		if err != nil {
			h.t.Fatalf("look at the consumer of %s: %v", route, err)
		}
		f.Consumers = append(f.Consumers, c)
	}
	return f
}

func (h *house) consumer(ctx context.Context, route string) (ledger.Consumer, error) {
	var c interface {
		CachedInfo() *jetstream.ConsumerInfo
	}
	var err error
	if h.push {
		c, err = h.js.PushConsumer(ctx, "ORDERS", "relay-"+route)
	} else {
		c, err = h.js.Consumer(ctx, "ORDERS", "relay-"+route)
	}
	if err != nil {
		return ledger.Consumer{}, err
	}
	info := c.CachedInfo()
	return ledger.Consumer{Route: route, Floor: info.AckFloor.Stream, Unsettled: info.NumPending + uint64(info.NumAckPending)}, nil
}

// deadInStream reads the dead-letter stream from its beginning, as any client would:
// not with relay's own reader.
func (h *house) deadInStream(ctx context.Context) ([]ledger.Dead, error) {
	stream, err := h.js.Stream(ctx, deadLetters)
	if err != nil {
		return nil, err
	}
	left := stream.CachedInfo().State.Msgs
	c, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	var all []ledger.Dead
	for left > 0 {
		batch, err := c.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			return nil, err
		}
		before := left
		for m := range batch.Messages() {
			left--
			header := m.Headers()
			all = append(all, ledger.Dead{
				Key: ledger.Key{Route: header.Get("Relay-Route"), Subject: header.Get("Relay-Subject")},
				ID:  header.Get("Relay-Id"), Replay: number(header.Get("Relay-Replay")),
				Sum: sha256.Sum256(m.Data()), Reference: header.Get("Relay-Body") == "table",
			})
		}
		if left == before {
			return nil, fmt.Errorf("%d messages do not come: %w", left, batch.Error())
		}
	}
	return all, nil
}

// table reads the rows as an operator would, with SQL.
func (h *house) table(ctx context.Context) (rows []ledger.Row, attempts []ledger.Attempt, err error) {
	conn, err := pgx.Connect(ctx, h.database)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close(ctx)
	found, err := conn.Query(ctx, `SELECT id, route, original_subject, state, reason, sha256(payload) FROM dead_letters`)
	if err != nil {
		return nil, nil, err
	}
	rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (r ledger.Row, err error) {
		var sum []byte
		err = row.Scan(&r.ID, &r.Route, &r.Subject, &r.State, &r.Reason, &sum)
		copy(r.Sum[:], sum)
		return r, err
	})
	if err != nil {
		return nil, nil, err
	}
	found, err = conn.Query(ctx, `SELECT id, route, replay, number, outcome IN ('nak', 'term') FROM dead_letter_attempts`)
	if err != nil {
		return nil, nil, err
	}
	attempts, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (a ledger.Attempt, err error) {
		err = row.Scan(&a.ID, &a.Route, &a.Replay, &a.Number, &a.Failed)
		return a, err
	})
	return rows, attempts, err
}

// count asks the database for a number.
func (h *house) count(ctx context.Context, sql string) (n int, err error) {
	conn, err := pgx.Connect(ctx, h.database)
	if err == nil {
		defer conn.Close(ctx)
		err = conn.QueryRow(ctx, sql).Scan(&n)
	}
	return n, err
}

// exec runs one statement in the database.
func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, h.database)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

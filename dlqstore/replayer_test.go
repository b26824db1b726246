package dlqstore_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit"
)

func largeNATS(t *testing.T) *testkit.Server {
	t.Helper()
	return testkit.NATS(t, func(o *server.Options) { o.MaxPayload = 16 << 20 })
}

func replayer(t *testing.T, js jetstream.JetStream, store dlqstore.Store) *dlqstore.Replayer {
	t.Helper()
	r, err := dlqstore.NewReplayer(dlqstore.ReplayerOptions{JetStream: js, Store: store})
	check(t, err)
	return r
}

func laneSize(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	s, err := js.Stream(context.Background(), dlqstore.ReplayStream)
	if err != nil {
		return -1
	}
	return int(s.CachedInfo().State.Msgs)
}

func pendingReplays(t *testing.T, s dlqstore.Store) int {
	t.Helper()
	list, err := s.PendingReplays(context.Background(), 100)
	check(t, err)
	return len(list)
}

func TestReplayer(t *testing.T) {
	testkit.Leaks(t)
	js := testkit.NATS(t).JetStream(t)
	store := sqliteStore(t)
	for n := range 40 {
		project(t, store, letter(n))
		_, err := store.StartReplay(t.Context(), letter(n).ID, nil, alice)
		check(t, err)
	}
	large := letter(40)
	large.Payload = bytes.Repeat([]byte("x"), 2<<20)
	project(t, store, large)
	_, err := store.StartReplay(t.Context(), large.ID, nil, alice)
	check(t, err)

	// The lane comes after the replayers, of which there are two.
	one, two := replayer(t, js, store), replayer(t, js, store)
	start(t, one.Run)
	start(t, two.Run)
	streams(t, js)
	testkit.Eventually(t, func() bool { return pendingReplays(t, store) == 0 }, "an empty outbox")
	want(t, "messages in the lane", laneSize(t, js), 41)

	lane, err := js.CreateOrUpdateConsumer(t.Context(), dlqstore.ReplayStream, jetstream.ConsumerConfig{
		Durable: "lane", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: dlqstore.ReplaySubjectPrefix + "orders",
	})
	check(t, err)
	batch, err := lane.Fetch(41)
	check(t, err)
	references := 0
	for m := range batch.Messages() {
		r, whole, err := dlqstore.DecodeReplay(m.Headers(), m.Data())
		check(t, err)
		want(t, "number", r.Number, 1)
		if !whole {
			references++
			want(t, "reference", r.ID, large.ID)
		} else {
			want(t, "payload", string(r.Payload), string(get(t, store, r.ID).Payload))
		}
	}
	want(t, "references", references, 1)

	project(t, store, again(letter(0), 1))
	_, err = store.StartReplay(t.Context(), letter(0).ID, nil, alice)
	check(t, err)
	one.Wake()
	testkit.Eventually(t, func() bool { return pendingReplays(t, store) == 0 }, "the second replay sent")
}

// TestReplayerRefused has a lane that refuses one replay; the others go.
func TestReplayerRefused(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: dlqstore.ReplayStream, Subjects: []string{dlqstore.ReplaySubjectPrefix + "*"}, MaxMsgSize: 1 << 10,
	})
	check(t, err)
	store := sqliteStore(t)
	for n := range 3 {
		r := letter(n)
		switch n {
		case 0: // not even its reference fits
			r.Stream = string(bytes.Repeat([]byte("S"), 2<<10))
		case 1:
			r.Payload = bytes.Repeat([]byte("x"), 2<<10)
		}
		project(t, store, r)
		_, err := store.StartReplay(t.Context(), r.ID, nil, alice)
		check(t, err)
	}
	start(t, replayer(t, js, store).Run)
	testkit.Eventually(t, func() bool { return laneSize(t, js) == 2 && pendingReplays(t, store) == 1 }, "two replays sent, one pending")
}

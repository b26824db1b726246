package dlqstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// TestLostReplays has one replay that the lane lost, one that it still holds and one
// whose outcome is only in the stream: the first alone goes out again.
func TestLostReplays(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	path := filepath.Join(t.TempDir(), "relay.db")
	store := open(t, "sqlite:"+path)
	streams(t, js)
	var list []dlqstore.Record
	for n, route := range []string{"lost", "held", "ended"} {
		list = append(list, letters(t, store, route, n, 1)...)
	}
	job := startJob(t, store, dlqstore.JobSpec{})
	stop := start(t, replayer(t, js, store).Run)
	testkit.Eventually(t, func() bool { return laneSize(t, js) == 3 && pendingReplays(t, store) == 0 }, "three replays in the lane")
	stop()
	lane, err := js.Stream(t.Context(), dlqstore.ReplayStream)
	check(t, err)
	for _, route := range []string{"lost", "ended"} {
		check(t, lane.Purge(t.Context(), jetstream.WithPurgeSubject(dlqstore.ReplaySubjectPrefix+route)))
	}
	event, err := attempt(list[2], 1, 1, "ack").Encode()
	check(t, err)
	publish(t, js, event)
	raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	check(t, err)
	defer raw.Close()
	_, err = raw.Exec(`UPDATE dead_letters SET replay_sent_at = '2026-03-01T00:00:00.000000Z'`)
	check(t, err)

	start(t, projector(t, js, store).Run)
	testkit.Eventually(t, func() bool { return pendingReplays(t, store) == 1 }, "the lost replay pending again")
	start(t, replayer(t, js, store).Run)
	testkit.Eventually(t, func() bool { return laneSize(t, js) == 2 }, "the lost replay in the lane again")
	var got []string
	for _, r := range list {
		d := get(t, store, r.ID)
		got = append(got, fmt.Sprint(d.State, d.ReplayCount))
	}
	want(t, "states and replays", got, "[replaying2 replaying1 delivered1]")
	want(t, "audited", count(t, raw, `SELECT count(*) FROM audit WHERE action = 'resend' AND actor = 'relay'`), 1)

	// The job takes the second start of the same replay for the first.
	end(t, store, true, list[0], list[1])
	testkit.Eventually(t, func() bool {
		job, err = store.Job(context.Background(), job.ID)
		return err == nil && job.State == dlqstore.JobDone
	}, "the job's end")
	want(t, "delivered", job.Delivered, 3)
}

// TestLostLane has a lane whose stream was deleted.
func TestLostLane(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	path := filepath.Join(t.TempDir(), "relay.db")
	store := open(t, "sqlite:"+path)
	r := letters(t, store, "orders", 0, 1)[0]
	replay, err := store.StartReplay(t.Context(), r.ID, nil, alice)
	check(t, err)
	check(t, store.MarkReplaySent(t.Context(), replay))
	raw, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	check(t, err)
	defer raw.Close()
	_, err = raw.Exec(`UPDATE dead_letters SET replay_sent_at = '2026-03-01T00:00:00.000000Z'`)
	check(t, err)
	start(t, projector(t, js, store).Run)
	testkit.Eventually(t, func() bool { return pendingReplays(t, store) == 1 }, "the lost replay pending again")
}

package dlqstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// BenchmarkReplayJob hands dead letters to the replay lane as one job, whose replays are
// delivered as soon as they are there.
func BenchmarkReplayJob(b *testing.B) {
	const size = 5000
	js := testkit.NATS(b).JetStream(b)
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: dlqstore.ReplayStream, Subjects: []string{dlqstore.ReplaySubjectPrefix + "*"},
	}); err != nil {
		b.Fatal(err)
	}
	store := benchStore(b, testkit.Postgres(b))
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		var batch dlqstore.Batch
		var ids []string
		for n := range size {
			batch.DeadLetters = append(batch.DeadLetters, benchLetter(i*size+n))
			ids = append(ids, batch.DeadLetters[n].ID)
		}
		if err := store.Project(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		job, err := store.StartJob(b.Context(), dlqstore.JobSpec{Filter: dlqstore.Filter{IDs: ids}}, dlqstore.Actor{})
		if err != nil {
			b.Fatal(err)
		}
		runJob(b, js, store, job.ID)
	}
	b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "replays/s")
}

// runJob plays the part of the dispatcher and the projector until the job is done.
func runJob(b *testing.B, js jetstream.JetStream, store dlqstore.Store, id string) {
	b.Helper()
	r, err := dlqstore.NewReplayer(dlqstore.ReplayerOptions{JetStream: js, Store: store})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = r.Run(ctx)
	}()
	defer func() {
		stop()
		<-stopped
	}()
	lane, err := js.CreateOrUpdateConsumer(ctx, dlqstore.ReplayStream, jetstream.ConsumerConfig{Durable: "lane", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		b.Fatal(err)
	}
	for {
		msgs, err := lane.Fetch(200, jetstream.FetchMaxWait(100*time.Millisecond))
		if err != nil {
			b.Fatal(err)
		}
		var batch dlqstore.Batch
		for m := range msgs.Messages() {
			replay, _, err := dlqstore.DecodeReplay(m.Headers(), m.Data())
			if err != nil {
				b.Fatal(err)
			}
			batch.Attempts = append(batch.Attempts, dlqstore.Attempt{
				ID: replay.ID, Route: replay.Route, Number: 1, Replay: replay.Number, At: noon, Status: 200, Verdict: "ack",
			})
			_ = m.Ack()
		}
		if err := store.Project(ctx, batch); err != nil {
			b.Fatal(err)
		}
		job, err := store.Job(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		if job.State == dlqstore.JobDone {
			return
		}
	}
}

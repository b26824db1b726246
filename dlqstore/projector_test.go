package dlqstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// start runs a projector or a replayer until the test, or the returned function, ends it.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func projector(t *testing.T, js jetstream.JetStream, store dlqstore.Store, change ...func(*dlqstore.ProjectorOptions)) *dlqstore.Projector {
	t.Helper()
	o := dlqstore.ProjectorOptions{JetStream: js, Store: store, Streams: []string{"RELAY_DLQ"}}
	for _, c := range change {
		c(&o)
	}
	p, err := dlqstore.NewProjector(o)
	check(t, err)
	return p
}

// streams makes the streams that the dispatcher makes.
func streams(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for _, c := range []jetstream.StreamConfig{
		{Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}},
		{Name: dlqstore.AttemptsStream, Subjects: []string{dlqstore.AttemptsSubjectPrefix + "*"}},
		{Name: dlqstore.ReplayStream, Subjects: []string{dlqstore.ReplaySubjectPrefix + "*"}, Retention: jetstream.WorkQueuePolicy},
	} {
		_, err := js.CreateStream(t.Context(), c)
		check(t, err)
	}
}

func publish(t *testing.T, js jetstream.JetStream, m *nats.Msg) *jetstream.PubAck {
	t.Helper()
	ack, err := js.PublishMsg(t.Context(), m)
	check(t, err)
	return ack
}

func publishLetters(t *testing.T, js jetstream.JetStream, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		publish(t, js, letter(n).Encode("dlq.orders.orders.created"))
	}
}

func sqliteStore(t *testing.T) dlqstore.Store {
	t.Helper()
	return open(t, "sqlite:"+filepath.Join(t.TempDir(), "relay.db"))
}

func counted(t *testing.T, s dlqstore.Store) int {
	t.Helper()
	n, err := s.Count(context.Background(), dlqstore.Filter{})
	if err != nil {
		return -1 // the database may be down
	}
	return n
}

// settled waits until the consumer of the projector has nothing before it.
func settled(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	testkit.Eventually(t, func() bool {
		c, err := js.Consumer(context.Background(), stream, "relay-projector")
		return err == nil && c.CachedInfo().NumPending == 0 && c.CachedInfo().NumAckPending == 0
	}, "all of stream %s acked", stream)
}

func TestProjector(t *testing.T) {
	testkit.Leaks(t)
	js := testkit.NATS(t).JetStream(t)
	path := filepath.Join(t.TempDir(), "relay.db")
	store := open(t, "sqlite:"+path)
	metrics := prometheus.NewRegistry()
	// The streams come after the projector.
	start(t, projector(t, js, store, func(o *dlqstore.ProjectorOptions) { o.Metrics = metrics }).Run)
	streams(t, js)

	r := letter(1)
	event, err := attempt(r, 0, 1, "term").Encode()
	check(t, err)
	publish(t, js, event)
	publish(t, js, r.Encode("dlq.orders.orders.created"))
	foreign := nats.NewMsg("dlq.something.else")
	foreign.Data = []byte("\x00not ours")
	publish(t, js, foreign)
	// What looks like a word of the server's to a client that pulls.
	for _, status := range []string{"100", "404", "409"} {
		publish(t, js, &nats.Msg{Subject: "dlq.foreign", Header: nats.Header{"Status": {status}, "Description": {"Consumer Deleted"}}})
	}
	publish(t, js, &nats.Msg{Subject: dlqstore.AttemptsSubjectPrefix + "orders", Data: []byte("{")})
	publishLetters(t, js, 2, 50)

	testkit.Eventually(t, func() bool { return counted(t, store) == 49 }, "49 rows")
	settled(t, js, "RELAY_DLQ")
	settled(t, js, dlqstore.AttemptsStream)
	testkit.Eventually(t, func() bool { return len(get(t, store, r.ID).Attempts) == 1 }, "the attempt")
	d := get(t, store, r.ID)
	want(t, "dead letter", fmt.Sprintf("%s %s %v", d.Payload, d.Response, d.Headers), `{"n": 1} answer 0.1 map[Event-Type:[order] X:[1 2]]`)
	want(t, "lag", testutil.CollectAndCount(metrics, "relay_projection_lag"), 1)
	raw, err := sql.Open("sqlite", "file:"+path)
	check(t, err)
	defer raw.Close()
	want(t, "quarantined", count(t, raw, `SELECT count(*) FROM quarantine`), 5)
	want(t, "with its headers", count(t, raw, `SELECT count(*) FROM quarantine WHERE headers LIKE '%Consumer Deleted%'`), 3)
}

// TestProjectorsShare runs two projectors into one database, side by side.
func TestProjectorsShare(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	url := testkit.Postgres(t)
	small := func(o *dlqstore.ProjectorOptions) { o.BatchMessages = 7 }
	for range 2 {
		start(t, projector(t, js, open(t, url), small).Run)
	}
	for n := range 200 {
		r := letter(n)
		publish(t, js, r.Encode("dlq.orders.orders.created"))
		event, err := attempt(r, 0, 1, "term").Encode()
		check(t, err)
		publish(t, js, event)
	}
	store := open(t, url)
	testkit.Eventually(t, func() bool { return counted(t, store) == 200 }, "200 rows")
	settled(t, js, "RELAY_DLQ")
	settled(t, js, dlqstore.AttemptsStream)
	for n := range 200 {
		want(t, "response", string(get(t, store, letter(n).ID).Response), "answer 0.1")
	}
}

// TestProjectorDatabaseDown starts with the database down, loses it again under load,
// and has everything in the end.
func TestProjectorDatabaseDown(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	pg := testkit.PostgresServer(t)
	check(t, pg.Stop("fast"))
	store, err := dlqstore.Open(t.Context(), pg.URL, dlqstore.OpenOptions{})
	check(t, err)
	defer store.Close()
	var log lockedBuffer
	stop := start(t, projector(t, js, store, func(o *dlqstore.ProjectorOptions) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}).Run)
	publishLetters(t, js, 0, 10)
	testkit.Eventually(t, func() bool { return log.count("projection waits") > 0 }, "a word about the database")
	want(t, "ping fails", store.Ping(t.Context()) != nil, true)

	check(t, pg.Start())
	check(t, store.Migrate(t.Context()))
	testkit.Eventually(t, func() bool { return counted(t, store) == 10 }, "10 rows")
	check(t, pg.Stop("immediate"))
	publishLetters(t, js, 10, 30)
	check(t, pg.Start())
	testkit.Eventually(t, func() bool { return counted(t, store) == 30 }, "30 rows")
	settled(t, js, "RELAY_DLQ")
	stop()
	if n := log.count("level=WARN"); n > 4 {
		t.Errorf("got %d warnings of two outages on two streams:\n%s", n, log.String())
	}
	if password := strings.SplitN(strings.SplitN(pg.URL, "@", 2)[0], ":", 3)[2]; password == "" || log.count(password) > 0 {
		t.Errorf("the log holds the password %q, or there is none", password)
	}
}

// TestProjectorConsumerDeleted deletes what the projector follows.
func TestProjectorConsumerDeleted(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	store := sqliteStore(t)
	start(t, projector(t, js, store).Run)
	publishLetters(t, js, 0, 3)
	testkit.Eventually(t, func() bool { return counted(t, store) == 3 }, "3 rows")
	check(t, js.DeleteConsumer(t.Context(), "RELAY_DLQ", "relay-projector"))
	publishLetters(t, js, 3, 6)
	testkit.Eventually(t, func() bool { return counted(t, store) == 6 }, "6 rows, after the consumer was deleted")
	check(t, js.DeleteStream(t.Context(), "RELAY_DLQ"))
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "RELAY_DLQ", Subjects: []string{"dlq.>"}})
	check(t, err)
	publishLetters(t, js, 6, 9)
	testkit.Eventually(t, func() bool { return counted(t, store) == 9 }, "9 rows, after the stream was recreated")
}

// hungStore does not answer, as a database behind a network that swallows everything.
type hungStore struct {
	dlqstore.Store
	asked chan struct{} // is told of a question for overdue replays
}

func (hungStore) Project(ctx context.Context, _ dlqstore.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s hungStore) OverdueReplays(ctx context.Context, _ time.Time) ([]string, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestLagWhileDatabaseHangs tells how far behind the table is when that matters most.
func TestLagWhileDatabaseHangs(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	reg := prometheus.NewRegistry()
	store := hungStore{sqliteStore(t), make(chan struct{}, 1)}
	start(t, projector(t, js, store, func(o *dlqstore.ProjectorOptions) { o.Metrics = reg }).Run)
	<-store.asked
	publishLetters(t, js, 0, 3)
	testkit.Eventually(t, func() bool {
		err := testutil.GatherAndCompare(reg, strings.NewReader(`
			# HELP relay_projection_lag Dead letters and attempts in their streams that the database does not hold yet.
			# TYPE relay_projection_lag gauge
			relay_projection_lag 3
		`))
		return err == nil
	}, "a lag of 3")
}

// TestProjectorLargeMessages has messages above the bytes of a batch.
func TestProjectorLargeMessages(t *testing.T) {
	js := largeNATS(t).JetStream(t)
	streams(t, js)
	store := sqliteStore(t)
	start(t, projector(t, js, store).Run)
	for n := range 4 {
		r := letter(n)
		r.Payload = bytes.Repeat([]byte{byte(n)}, 10<<20)
		publish(t, js, r.Encode("dlq.orders.orders.created"))
	}
	testkit.Eventually(t, func() bool { return counted(t, store) == 4 }, "4 rows")
	settled(t, js, "RELAY_DLQ")
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) count(s string) int { return strings.Count(l.String(), s) }

// slowStore takes no batch before it is released.
type slowStore struct {
	dlqstore.Store
	release chan struct{}
}

func (s slowStore) Project(ctx context.Context, b dlqstore.Batch) error {
	select {
	case <-s.release:
		return s.Store.Project(ctx, b)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestProjectorSlowDatabase has a transaction that takes longer than AckWait, and messages
// that wait behind it: none of them is delivered a second time.
func TestProjectorSlowDatabase(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	signs, err := js.Conn().SubscribeSync("$JS.ACK.RELAY_DLQ.relay-projector.>")
	check(t, err)
	store := slowStore{sqliteStore(t), make(chan struct{})}
	start(t, projector(t, js, store, func(o *dlqstore.ProjectorOptions) { o.BatchMessages, o.AckWait = 2, 3*time.Second }).Run)
	publishLetters(t, js, 0, 4)

	kept := map[string]int{}
	const rounds = 4 // a third of AckWait each
	for len(kept) < 4 || slices.Min(slices.Collect(maps.Values(kept))) < rounds {
		m, err := signs.NextMsg(time.Minute)
		if err != nil || string(m.Data) != "+WPI" {
			t.Fatalf("messages were not kept from coming again: %v (%v)", err, kept)
		}
		kept[m.Subject]++
	}
	want(t, "deliveries", len(kept), 4) // the subject has the number of the delivery
	close(store.release)
	settled(t, js, "RELAY_DLQ")
	want(t, "rows", counted(t, store), 4)
}

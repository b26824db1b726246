package main

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// payloads are the real GitHub webhooks under testdata, in file order.
func payloads(t *testing.T) (events []string, bodies [][]byte) {
	t.Helper()
	f, err := os.Open("testdata/github-webhooks.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Event   string          `json:"event"`
			Payload json.RawMessage `json:"payload"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		events, bodies = append(events, line.Event), append(bodies, line.Payload)
	}
	if err := lines.Err(); err != nil || len(bodies) != 329 {
		t.Fatalf("read %d payloads, want 329: %v", len(bodies), err)
	}
	return events, bodies
}

// moods are the answers of a receiver in a bad way, in turn.
func moods(release <-chan struct{}, delivered func(q testkit.Request)) testkit.Answer {
	var mu sync.Mutex
	turn := 0
	return func(w http.ResponseWriter, q testkit.Request) {
		mu.Lock()
		mood := turn % 8
		turn++
		mu.Unlock()
		switch mood {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusNotFound)
		case 3:
			w.WriteHeader(http.StatusUnprocessableEntity)
		case 4:
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusMovedPermanently)
		case 5:
			panic(http.ErrAbortHandler) // drops the connection
		case 6:
			<-release // until the time-out
		default:
			delivered(q)
			w.WriteHeader(http.StatusNoContent)
		}
	}
}

// The main job on real input: every payload goes to a receiver that takes all, and to
// one in a bad way; at the end each is delivered or is one dead letter, byte for byte,
// on the wire, in the stream and in the table.
func TestRealInput(t *testing.T) {
	events, bodies := payloads(t)
	server, database := testkit.NATS(t), testkit.Postgres(t)
	taker := testkit.NewReceiver(t, nil)
	moody := testkit.NewReceiver(t, nil)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) }) // before the receiver closes, which waits for its handlers
	var mu sync.Mutex
	delivered := map[string]int{} // by stream sequence
	moody.Answer(moods(release, func(q testkit.Request) {
		mu.Lock()
		defer mu.Unlock()
		delivered[q.Header.Get("Relay-Stream-Sequence")]++
	}))
	routes := writeRoutes(t, `
version: 1
streams: [{ name: GITHUB, subjects: [github.>] }]
routes:
  - name: taker
    stream: GITHUB
    filter_subjects: [github.>]
    webhook: { url: "%s/hook" }
  - name: moody
    stream: GITHUB
    filter_subjects: [github.>]
    webhook: { url: "%s/hook", timeout: 1s }
    circuit_breaker: { consecutive_failures: 0 }
    retry: { max_attempts: 3, backoff: { initial: 20ms, max: 100ms } }
`, taker.URL, moody.URL)
	p := relay(t, "run", "--routes", routes, "--nats", server.URL, "--database", database, "--admin", "127.0.0.1:0")
	admin := p.admin()
	js := server.JetStream(t)
	testkit.Eventually(t, func() bool { _, err := js.Stream(t.Context(), "GITHUB"); return err == nil }, "the stream that the file declares")
	for i, body := range bodies {
		if ack, err := js.Publish(t.Context(), "github."+events[i], body); err != nil || ack.Sequence != uint64(i+1) {
			t.Fatalf("publish payload %d: %v %v", i, ack, err)
		}
	}
	testkit.Eventually(t, func() bool {
		return settled(js, "GITHUB", "relay-taker") && settled(js, "GITHUB", "relay-moody")
	}, "all messages to be settled")

	t.Run("taker", func(t *testing.T) {
		seen := map[string][32]byte{}
		for _, q := range taker.Requests() {
			seen[q.Header.Get("Relay-Stream-Sequence")] = sha256.Sum256(q.Body)
		}
		if len(taker.Requests()) != len(bodies) {
			t.Errorf("%d requests for %d messages", len(taker.Requests()), len(bodies))
		}
		for i, body := range bodies {
			if seen[fmt.Sprint(i+1)] != sha256.Sum256(body) {
				t.Errorf("payload %d (%s) differs at the receiver", i, events[i])
			}
		}
	})

	var dead []deadLetter
	mu.Lock()
	want := len(bodies) - len(delivered)
	mu.Unlock()
	testkit.Eventually(t, func() bool { dead = deadLetters(t, admin, "route=moody"); return len(dead) >= want }, "%d rows in the table", want)
	t.Run("delivered and dead are disjoint and complete", func(t *testing.T) {
		mu.Lock()
		defer mu.Unlock()
		count := map[string]int{}
		for seq, n := range delivered {
			count[seq]++
			if n > 1 {
				t.Errorf("message %s was delivered %d times", seq, n)
			}
		}
		for _, d := range dead {
			count[fmt.Sprint(d.StreamSequence)]++
			if d.State != "dead" || d.Reason == "" || d.RetryCount == 0 {
				t.Errorf("dead letter %+v", d)
			}
		}
		for i := range bodies {
			if n := count[fmt.Sprint(i+1)]; n != 1 {
				t.Errorf("message %d ended %d times", i+1, n)
			}
		}
		if len(dead) < 50 || len(delivered) < 50 {
			t.Errorf("%d dead and %d delivered: the receiver's moods did not show", len(dead), len(delivered))
		}
		if others := deadLetters(t, admin, "route=taker"); len(others) != 0 {
			t.Errorf("%d dead letters of the route whose receiver takes all", len(others))
		}
	})
	t.Run("table", func(t *testing.T) {
		for _, d := range dead {
			_, got := get(t, admin+"/api/v1/dead-letters/"+d.ID+"/payload")
			if sha256.Sum256(got) != sha256.Sum256(bodies[d.StreamSequence-1]) {
				t.Errorf("payload of %s differs in the table", d.ID)
			}
		}
	})
	t.Run("stream", func(t *testing.T) {
		s, err := js.Stream(t.Context(), "RELAY_DLQ")
		if err != nil {
			t.Fatal(err)
		}
		state := s.CachedInfo().State
		if int(state.Msgs) != len(dead) {
			t.Errorf("%d messages in the stream, %d rows in the table", state.Msgs, len(dead))
		}
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			r, err := dlqstore.Decode(m.Header, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if sha256.Sum256(r.Payload) != sha256.Sum256(bodies[r.StreamSequence-1]) {
				t.Errorf("payload of %s differs in the stream", r.ID)
			}
		}
	})

	// The receiver is well again: a replay reaches it, and it alone.
	t.Run("replay", func(t *testing.T) {
		moody.Answer(testkit.Status(http.StatusNoContent))
		before := len(taker.Requests())
		d := dead[0]
		if status, body := post(t, admin+"/api/v1/dead-letters/"+d.ID+"/replay", "{}"); status != http.StatusAccepted {
			t.Fatalf("replay: %d %s", status, body)
		}
		testkit.Eventually(t, func() bool {
			list := deadLetters(t, admin, "state=delivered")
			return len(list) == 1 && list[0].ID == d.ID
		}, "the replay to be delivered")
		requests := moody.Requests()
		last := requests[len(requests)-1]
		if last.Header.Get("Relay-Replay-Of") != d.ID || sha256.Sum256(last.Body) != sha256.Sum256(bodies[d.StreamSequence-1]) {
			t.Errorf("the replay differs: %v", last.Header)
		}
		if n := len(taker.Requests()); n != before {
			t.Errorf("the other route got %d requests of the replay", n-before)
		}
		if status, body := post(t, admin+"/api/v1/dead-letters/"+d.ID+"/replay", "{}"); status != http.StatusConflict {
			t.Errorf("replay of what is delivered: %d %s", status, body)
		}
	})
}

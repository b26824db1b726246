package dlqstore_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"relay/dlqstore"
	"relay/internal/testkit"
)

// hostileNames are header names that mean something to somebody, or cannot be written.
var hostileNames = []string{
	"Nats-Rollup", "nats-rollup", "NATS-ROLLUP", "Nats-Msg-Id", "nats-msg-id", "Nats-Expected-Stream",
	"Nats-Expected-Last-Sequence", "Nats-TTL", "Nats-Schedule", "Nats-Marker-Reason", "Status", "status", "STATUS", "Description", "description",
	"Relay-Id", "relay-id", "Relay-Orig", "relay-orig", "Relay-Orig-Status", "Relay-Orig-", "Relay-Body", "Relay-Replay", "Relay-Route",
	"X-Plain", "x-plain", "Content-Type", "Connection", "bad name", "bad:name", "", "caf\u00e9", "nul\x00", "\xff", " led",
}

var hostileValues = []string{
	"", "all", "sub", "503", "409", "Consumer Deleted", "table", "plain", " led", "trailed ", "\ttab", "line\r\nNats-Rollup: all", "cr\r", "\xff\xfe",
	"\x00", "\u00a0", "{\"a\": 1}", "1",
}

func headersGen() *rapid.Generator[map[string][]string] {
	name := rapid.OneOf(rapid.SampledFrom(hostileNames), rapid.String(), rapid.StringMatching(`[A-Za-z][A-Za-z-]{0,10}`))
	value := rapid.OneOf(rapid.SampledFrom(hostileValues), rapid.String())
	return rapid.MapOfN(name, rapid.SliceOfN(value, 0, 3), 0, 6)
}

func recordGen() *rapid.Generator[dlqstore.Record] {
	return rapid.Custom(func(t *rapid.T) dlqstore.Record {
		r := letter(1)
		r.PublishedAt = r.PublishedAt.Add(time.Duration(rapid.IntRange(0, 1e9).Draw(t, "nanoseconds")))
		r.Replay = rapid.IntRange(0, 3).Draw(t, "replay")
		r.ReplayCount = 0
		r.Status = rapid.SampledFrom([]int{0, 422, 599}).Draw(t, "status")
		r.Headers = headersGen().Draw(t, "headers")
		r.Payload = rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		r.Reference = rapid.IntRange(0, 9).Draw(t, "reference") == 0
		if len(r.Headers) == 0 {
			r.Headers = nil
		}
		if r.Reference {
			r.Headers, r.Payload = nil, nil
		}
		return r
	})
}

// TestWireRoundTrip sends dead letters and replays with hostile headers through real
// JetStream: they arrive as they were, and nothing they hold touches the stream.
func TestWireRoundTrip(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	dead := ordered(t, js, "RELAY_DLQ")
	lane := ordered(t, js, dlqstore.ReplayStream)
	published := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		r := recordGen().Draw(rt, "record")
		r.StreamSequence = published // no duplicate of another for JetStream
		r.ID = dlqstore.NewID(r.Route, r.Stream, r.StreamSequence, r.PublishedAt)
		ack, err := js.PublishMsg(t.Context(), r.Encode("dlq.orders.orders.created"))
		if err != nil {
			rt.Fatalf("publish: %v", err)
		}
		published++
		if ack.Sequence != published || ack.Duplicate {
			rt.Fatalf("got PubAck %+v, want sequence %d", ack, published)
		}
		m := next(rt, dead, r.ID)
		got, err := dlqstore.Decode(m.Headers(), m.Data())
		if err != nil {
			rt.Fatalf("decode: %v", err)
		}
		same(rt, got, r)

		replay := dlqstore.Replay{DeadLetter: r.DeadLetter, Number: r.Replay + 1}
		if _, err := js.PublishMsg(t.Context(), replay.Encode()); err != nil {
			rt.Fatalf("publish the replay: %v", err)
		}
		m = next(rt, lane, r.ID)
		back, whole, err := dlqstore.DecodeReplay(m.Headers(), m.Data())
		if err != nil || !whole {
			rt.Fatalf("decode the replay: whole %v, error %v", whole, err)
		}
		same(rt, []any{back.Number, back.ID, back.Payload, back.Headers}, []any{replay.Number, r.ID, r.Payload, r.Headers})
	})
	s, err := js.Stream(t.Context(), "RELAY_DLQ")
	check(t, err)
	want(t, "messages in the stream", s.CachedInfo().State.Msgs, published)
}

func ordered(t *testing.T, js jetstream.JetStream, stream string) jetstream.MessagesContext {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	check(t, err)
	// A work queue takes no ordered consumer.
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	check(t, err)
	messages, err := c.Messages()
	check(t, err)
	t.Cleanup(messages.Stop)
	return messages
}

// next reads on to the message of that id; what failed before may have left others.
func next(t *rapid.T, messages jetstream.MessagesContext, id string) jetstream.Msg {
	for {
		m, err := messages.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			t.Fatalf("next message: %v", err)
		}
		if err := m.Ack(); err != nil {
			t.Fatalf("ack: %v", err)
		}
		if m.Headers().Get(dlqstore.HeaderID) == id {
			return m
		}
	}
}

func same(t *rapid.T, got, want any) {
	if g, w := fmt.Sprintf("%+q", got), fmt.Sprintf("%+q", want); g != w {
		t.Fatalf("\n got %s\nwant %s", g, w)
	}
}

func TestRepublishedDeathIsADuplicate(t *testing.T) {
	js := testkit.NATS(t).JetStream(t)
	streams(t, js)
	for i, r := range []dlqstore.Record{letter(1), letter(1), again(letter(1), 1), again(letter(1), 1), letter(2)} {
		ack := publish(t, js, r.Encode("dlq.orders.orders.created"))
		want(t, fmt.Sprintf("duplicate %d", i), ack.Duplicate, i == 1 || i == 3)
	}
}

func TestDecodeForeign(t *testing.T) {
	good := letter(1).Encode("dlq.x").Header
	cases := map[string]func(nats.Header){
		"id":           func(h nats.Header) { h.Del("Relay-Id") },
		"route":        func(h nats.Header) { h.Del("Relay-Route") },
		"sequence":     func(h nats.Header) { h.Set("Relay-Stream-Sequence", "-1") },
		"published at": func(h nats.Header) { h.Set("Relay-Published-At", "noon") },
		"failed at":    func(h nats.Header) { h.Del("Relay-Failed-At") },
		"replay":       func(h nats.Header) { h.Set("Relay-Replay", "x") },
		"originals":    func(h nats.Header) { h.Set("Relay-Orig", "{") },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			h := nats.Header{}
			maps.Copy(h, good)
			spoil(h)
			if r, err := dlqstore.Decode(h, nil); err == nil {
				t.Errorf("got %+v, want an error", r)
			}
		})
	}
	if _, _, err := dlqstore.DecodeReplay(good, nil); err == nil {
		t.Error("a first death passes for a replay")
	}
	for _, data := range []string{"", "{", "[]", "null", `{"id":"x","route":"r"}`, `{"id":"x","route":"r","number":0}`} {
		if a, err := dlqstore.DecodeAttempt([]byte(data)); err == nil {
			t.Errorf("DecodeAttempt(%q): got %+v, want an error", data, a)
		}
	}
}

func TestAttemptRoundTrip(t *testing.T) {
	a := attempt(letter(1), 2, 3, "nak")
	a.Response = []byte("\x00\xff")
	m, err := a.Encode()
	check(t, err)
	want(t, "subject", m.Subject, "relay.attempts.orders")
	got, err := dlqstore.DecodeAttempt(m.Data)
	check(t, err)
	want(t, "attempt", got, a)
}

func TestErrorHeaderIsOneLine(t *testing.T) {
	r := letter(1)
	r.Error = "line\r\nNats-Rollup: all\x00" + strings.Repeat("\u00e9", dlqstore.MaxErrorBytes)
	got, err := dlqstore.Decode(r.Encode("dlq.x").Header, nil)
	check(t, err)
	if strings.ContainsAny(got.Error, "\r\n\x00") || len(got.Error) > dlqstore.MaxErrorBytes {
		t.Errorf("got error %q of %d bytes", got.Error, len(got.Error))
	}
}

func TestNewID(t *testing.T) {
	stored := time.Unix(1, 2)
	id := dlqstore.NewID("a", "S", 1, stored)
	want(t, "id", id, dlqstore.NewID("a", "S", 1, stored.UTC()))
	if !strings.HasPrefix(id, "msg_") || len(id) != len("msg_")+26 || strings.ToLower(id) != id {
		t.Errorf("got id %q", id)
	}
	for name, other := range map[string]string{
		"route":    dlqstore.NewID("b", "S", 1, stored),
		"stream":   dlqstore.NewID("a", "T", 1, stored),
		"sequence": dlqstore.NewID("a", "S", 2, stored),
		"stored":   dlqstore.NewID("a", "S", 1, stored.Add(1)),
		"boundary": dlqstore.NewID("aS", "", 1, stored),
	} {
		if other == id {
			t.Errorf("another %s has the same id", name)
		}
	}
}

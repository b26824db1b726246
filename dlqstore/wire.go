package dlqstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Names of relay's own streams and subjects beside the dead-letter stream.
const (
	AttemptsStream        = "RELAY_ATTEMPTS"
	AttemptsSubjectPrefix = "relay.attempts." // + route
	ReplayStream          = "RELAY_REPLAY"
	ReplaySubjectPrefix   = "relay.replay." // + route
)

// Headers of a dead letter in the stream and of a message in the replay lane.
const (
	HeaderRoute          = "Relay-Route"
	HeaderSubject        = "Relay-Subject"
	HeaderStream         = "Relay-Stream"
	HeaderStreamSequence = "Relay-Stream-Sequence"
	HeaderConsumer       = "Relay-Consumer"
	HeaderReason         = "Relay-Reason"
	HeaderError          = "Relay-Error"
	HeaderStatus         = "Relay-Status"
	HeaderAttempts       = "Relay-Attempts"
	HeaderFailedAt       = "Relay-Failed-At"
	HeaderPublishedAt    = "Relay-Published-At"

	// HeaderID is the delivery's id. Nats-Msg-Id cannot serve: a replay that dies
	// again has the id of the first death, and must not be taken for its duplicate.
	HeaderID = "Relay-Id"
	// HeaderReplay is the number of the replay; absent in a first death.
	HeaderReplay   = "Relay-Replay"
	HeaderReplayOf = "Relay-Replay-Of"
	// HeaderBody is "table" when payload and headers stand only in the table.
	HeaderBody = "Relay-Body"
)

// MaxHeaderBytes bounds the headers of a dead letter in the stream; one with more
// goes as a reference.
const MaxHeaderBytes = 8 << 10

// Encode makes the message that is published to the dead-letter stream under the
// subject. Its Nats-Msg-Id makes a second publish of the same death a duplicate.
func (r Record) Encode(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	setOrigin(m.Header, r.DeadLetter, r.Replay)
	set(m.Header, HeaderConsumer, r.ConsumerName)
	set(m.Header, HeaderReason, string(r.Reason))
	set(m.Header, HeaderError, headerText(r.Error))
	if r.Status != 0 {
		m.Header.Set(HeaderStatus, strconv.Itoa(r.Status))
	}
	m.Header.Set(HeaderAttempts, strconv.Itoa(r.RetryCount))
	m.Header.Set(HeaderFailedAt, formatTime(r.FailedAt))
	if r.Reference {
		m.Header.Set(HeaderBody, "table")
		return m
	}
	addOriginal(m.Header, r.Headers)
	m.Data = r.Payload
	return m
}

// Decode reads a message of the dead-letter stream. It fails on a message that
// relay did not write.
func Decode(h nats.Header, data []byte) (Record, error) {
	var r Record
	if err := originOf(h, &r.DeadLetter, &r.Replay); err != nil {
		return Record{}, err
	}
	r.State = Dead
	r.ConsumerName = h.Get(HeaderConsumer)
	r.Reason = Reason(h.Get(HeaderReason))
	r.Error = h.Get(HeaderError)
	r.Status, _ = strconv.Atoi(h.Get(HeaderStatus))
	r.RetryCount, _ = strconv.Atoi(h.Get(HeaderAttempts))
	failed, err := time.Parse(time.RFC3339Nano, h.Get(HeaderFailedAt))
	if err != nil {
		return Record{}, fmt.Errorf("header %s: %w", HeaderFailedAt, err)
	}
	r.FailedAt = failed
	if h.Get(HeaderBody) == "table" {
		r.Reference = true
		return r, nil
	}
	r.Headers, err = original(h)
	r.Payload = data
	return r, err
}

// Encode makes the message that hands the replay to the replay lane.
func (r Replay) Encode() *nats.Msg {
	m := nats.NewMsg(ReplaySubjectPrefix + r.Route)
	setOrigin(m.Header, r.DeadLetter, r.Number)
	addOriginal(m.Header, r.Headers)
	m.Data = r.Payload
	return m
}

// Reference strips a replay's message of what stands in the table too, for one that
// is too large to be published whole.
func (r Replay) Reference() *nats.Msg {
	m := nats.NewMsg(ReplaySubjectPrefix + r.Route)
	setOrigin(m.Header, r.DeadLetter, r.Number)
	m.Header.Set(HeaderBody, "table")
	return m
}

// DecodeReplay reads a message of the replay lane. whole is false for a reference:
// payload and headers have to be read from the store.
func DecodeReplay(h nats.Header, data []byte) (r Replay, whole bool, err error) {
	if err := originOf(h, &r.DeadLetter, &r.Number); err != nil {
		return Replay{}, false, err
	}
	if r.Number < 1 {
		return Replay{}, false, fmt.Errorf("header %s: want 1 or more, got %q", HeaderReplay, h.Get(HeaderReplay))
	}
	r.State = Replaying
	if h.Get(HeaderBody) == "table" {
		return r, false, nil
	}
	r.Headers, err = original(h)
	r.Payload = data
	return r, true, err
}

// attemptEvent is the JSON of an attempt on AttemptsSubjectPrefix + route.
type attemptEvent struct {
	ID              string              `json:"id"`
	Route           string              `json:"route"`
	Number          int                 `json:"number"`
	Replay          int                 `json:"replay,omitempty"`
	At              time.Time           `json:"at"`
	Status          int                 `json:"status,omitempty"`
	Error           string              `json:"error,omitempty"`
	DurationMS      float64             `json:"duration_ms"`
	ResponseHeaders map[string][]string `json:"response_headers,omitempty"`
	Response        []byte              `json:"response_base64,omitempty"`
	Verdict         string              `json:"outcome"`
	Instance        string              `json:"instance,omitempty"`
}

// Encode makes the event of an attempt.
func (a Attempt) Encode() (*nats.Msg, error) {
	data, err := json.Marshal(attemptEvent{
		ID: a.ID, Route: a.Route, Number: a.Number, Replay: a.Replay, At: a.At.UTC(), Status: a.Status,
		Error: a.Error, DurationMS: float64(a.Duration) / float64(time.Millisecond),
		ResponseHeaders: a.ResponseHeaders, Response: a.Response, Verdict: a.Verdict, Instance: a.Instance,
	})
	if err != nil {
		return nil, fmt.Errorf("encode attempt %d of %s: %w", a.Number, a.ID, err)
	}
	m := nats.NewMsg(AttemptsSubjectPrefix + a.Route)
	m.Data = data
	return m, nil
}

// DecodeAttempt reads an event of the attempts stream.
func DecodeAttempt(data []byte) (Attempt, error) {
	var e attemptEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return Attempt{}, fmt.Errorf("decode attempt event: %w", err)
	}
	if e.ID == "" || e.Route == "" || e.Number < 1 {
		return Attempt{}, errors.New("decode attempt event: id, route or number is missing")
	}
	return Attempt{
		ID: e.ID, Route: e.Route, Number: e.Number, Replay: e.Replay, At: e.At, Status: e.Status, Error: e.Error,
		Duration: time.Duration(e.DurationMS * float64(time.Millisecond)), ResponseHeaders: e.ResponseHeaders,
		Response: e.Response, Verdict: e.Verdict, Instance: e.Instance,
	}, nil
}

func setOrigin(h nats.Header, d DeadLetter, replay int) {
	h.Set(HeaderID, d.ID)
	h.Set(HeaderRoute, d.Route)
	h.Set(HeaderSubject, d.OriginalSubject)
	h.Set(HeaderStream, d.Stream)
	h.Set(HeaderStreamSequence, strconv.FormatUint(d.StreamSequence, 10))
	h.Set(HeaderPublishedAt, formatTime(d.PublishedAt))
	set(h, HeaderReplayOf, d.ReplayOf)
	msgID := d.ID
	if replay > 0 {
		n := strconv.Itoa(replay)
		h.Set(HeaderReplay, n)
		msgID += ".r" + n
	}
	h.Set(nats.MsgIdHdr, msgID)
}

func originOf(h nats.Header, d *DeadLetter, replay *int) error {
	d.ID, d.Route = h.Get(HeaderID), h.Get(HeaderRoute)
	if d.ID == "" || d.Route == "" {
		return fmt.Errorf("header %s or %s is missing: not written by relay", HeaderID, HeaderRoute)
	}
	d.OriginalSubject, d.Stream, d.ReplayOf = h.Get(HeaderSubject), h.Get(HeaderStream), h.Get(HeaderReplayOf)
	var err error
	if d.StreamSequence, err = strconv.ParseUint(h.Get(HeaderStreamSequence), 10, 64); err != nil {
		return fmt.Errorf("header %s: %w", HeaderStreamSequence, err)
	}
	if d.PublishedAt, err = time.Parse(time.RFC3339Nano, h.Get(HeaderPublishedAt)); err != nil {
		return fmt.Errorf("header %s: %w", HeaderPublishedAt, err)
	}
	if v := h.Get(HeaderReplay); v != "" {
		if *replay, err = strconv.Atoi(v); err != nil {
			return fmt.Errorf("header %s: %w", HeaderReplay, err)
		}
	}
	return nil
}

func set(h nats.Header, name, value string) {
	if value != "" {
		h.Set(name, value)
	}
}

// headerText makes foreign text fit for a header.
func headerText(s string) string {
	if len(s) > MaxErrorBytes {
		s = strings.ToValidUTF8(s[:MaxErrorBytes], "")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

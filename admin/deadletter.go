package admin

import (
	"encoding/json"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"relay/dlqstore"
)

// deadLetterJSON is a dead letter as the API shows it.
type deadLetterJSON struct {
	ID              string              `json:"id"`
	Route           string              `json:"route"`
	State           dlqstore.State      `json:"state"`
	Reason          dlqstore.Reason     `json:"reason"`
	OriginalSubject string              `json:"original_subject"`
	OriginalData    json.RawMessage     `json:"original_data,omitempty"` // the payload itself, digits kept, when it is JSON
	Payload         []byte              `json:"payload_base64"`
	Headers         map[string][]string `json:"headers"`
	// HeadersExact are the headers too, as dlqstore.ExactHeaders writes them; absent
	// unless one of them is no UTF-8.
	HeadersExact *json.RawMessage `json:"headers_base64,omitempty"`
	Error        string           `json:"error"`
	Status       int              `json:"status"` // 0: there was no answer
	ErrorClass   string           `json:"error_class"`
	Fingerprint  string           `json:"fingerprint"` // of the cause, as in dead-letter-groups
	// Response is the start of the answer's body as text; one that is no UTF-8 comes
	// as ResponseBase64 instead.
	Response       string        `json:"response"`
	ResponseBase64 []byte        `json:"response_base64,omitempty"`
	RetryCount     int           `json:"retry_count"`
	ConsumerName   string        `json:"consumer_name"`
	Stream         string        `json:"stream"`
	StreamSequence uint64        `json:"stream_sequence"`
	PublishedAt    time.Time     `json:"published_at"`
	FailedAt       time.Time     `json:"failed_at"`
	Attempts       []attemptJSON `json:"attempts"`
	ReplayOf       string        `json:"replay_of"`
}

type attemptJSON struct {
	Number     int       `json:"number"`           // counted from 1, in each replay anew
	Replay     int       `json:"replay,omitempty"` // absent: the first life; n: the nth replay
	At         time.Time `json:"at"`
	Status     int       `json:"status"`
	Error      string    `json:"error"`
	DurationMS float64   `json:"duration_ms"` // to the microsecond
}

func toJSON(d dlqstore.DeadLetter) deadLetterJSON {
	out := deadLetterJSON{
		ID: d.ID, Route: d.Route, State: d.State, Reason: d.Reason, OriginalSubject: d.OriginalSubject,
		Payload: d.Payload, Headers: d.Headers, Error: d.Error, Status: d.Status,
		ErrorClass: d.ErrorClass, Fingerprint: d.Fingerprint,
		RetryCount: d.RetryCount, ConsumerName: d.ConsumerName, Stream: d.Stream, StreamSequence: d.StreamSequence,
		PublishedAt: d.PublishedAt.UTC(), FailedAt: d.FailedAt.UTC(), ReplayOf: d.ReplayOf, Attempts: attemptsJSON(d.Attempts),
	}
	if out.Payload == nil {
		out.Payload = []byte{}
	}
	if out.Headers == nil {
		out.Headers = map[string][]string{}
	}
	if !utf8Headers(d.Headers) {
		exact := json.RawMessage(dlqstore.ExactHeaders(d.Headers))
		out.HeadersExact = &exact
	}
	if isJSON(d.Payload) {
		out.OriginalData = d.Payload
	}
	if text, ok := responseText(d.Response); ok {
		out.Response = text
	} else {
		out.ResponseBase64 = d.Response
	}
	return out
}

func utf8Headers(h map[string][]string) bool {
	for name, values := range h {
		if !utf8.ValidString(name) || slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
			return false
		}
	}
	return true
}

func attemptsJSON(list []dlqstore.Attempt) []attemptJSON {
	out := make([]attemptJSON, len(list))
	for i, a := range list {
		out[i] = attemptJSON{
			Number: a.Number, Replay: a.Replay, At: a.At.UTC(), Status: a.Status, Error: a.Error,
			DurationMS: math.Round(float64(a.Duration)/float64(time.Microsecond)) / 1000,
		}
	}
	return out
}

// responseText returns the body of an answer as text, if it is that. A body that was
// cut off at the limit may end within a character, which then is left out.
func responseText(body []byte) (string, bool) {
	if len(body) >= dlqstore.MaxResponseBytes {
		for i := 1; i < utf8.UTFMax; i++ {
			if last := body[len(body)-i:]; utf8.RuneStart(last[0]) {
				if !utf8.FullRune(last) {
					body = body[:len(body)-i]
				}
				break
			}
		}
	}
	return string(body), utf8.Valid(body)
}

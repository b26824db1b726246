package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The ways in which the receiver fails when it is told to, and the sum of what came.
func TestReceiverFails(t *testing.T) {
	const hour = time.Hour
	for name, tt := range map[string]struct {
		r    *receiver
		want string // of four attempts of one delivery: what each was answered, × for nothing
	}{
		"it does not":              {&receiver{}, "204 204 204 204"},
		"the first two":            {&receiver{failFirst: 2}, "503 503 204 204"},
		"the first two, dropped":   {&receiver{failFirst: 2, drop: true}, "× × 204 204"},
		"all, dropped":             {&receiver{drop: true}, "× × × ×"},
		"flapping, up":             {&receiver{flap: hour, began: time.Now().Add(-hour / 2)}, "204 204 204 204"},
		"flapping, down":           {&receiver{flap: hour, began: time.Now().Add(-3 * hour / 2)}, "503 503 503 503"},
		"flapping, dropped":        {&receiver{flap: hour, drop: true, began: time.Now().Add(-3 * hour / 2)}, "× × × ×"},
		"flapping, up again":       {&receiver{flap: hour, drop: true, began: time.Now().Add(-5 * hour / 2)}, "204 204 204 204"},
		"with a time to come back": {&receiver{failFirst: 1, retryAfter: 7 * time.Second}, "503(7) 204 204 204"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.r.status, tt.r.seen = http.StatusNoContent, map[string]int{}
			srv := httptest.NewServer(tt.r)
			defer srv.Close()
			var got []string
			for range 4 {
				got = append(got, answerOf(t, srv.URL))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
			tt.r.mu.Lock()
			defer tt.r.mu.Unlock()
			successes := strings.Count(tt.want, "204")
			if tt.r.requests != 4 || len(tt.r.seen) != 1 || tt.r.duplicates != max(0, successes-1) {
				t.Errorf("%d requests, %d deliveries, %d repeated after a success; want 4, 1, %d",
					tt.r.requests, len(tt.r.seen), tt.r.duplicates, max(0, successes-1))
			}
		})
	}
}

// answerOf sends an attempt of one delivery and returns the status, with Retry-After
// in brackets.
func answerOf(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("webhook-id", "msg_1")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return "×"
	}
	defer resp.Body.Close()
	if after := resp.Header.Get("Retry-After"); after != "" {
		return answer(resp.StatusCode) + "(" + after + ")"
	}
	return answer(resp.StatusCode)
}

// A sample goes out byte for byte, to the subject of its name unless another is given,
// and no faster than asked.
func TestSendSample(t *testing.T) {
	h := newHouse(t)
	stream, err := h.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "GITHUB", Subjects: []string{"github.>", "other"}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, args := range [][]string{
		{"send", "--sample", "github.push", "--count", "4", "--rate", "20", "--nats", h.nats.URL},
		{"send", "other", "--sample", "github.issues", "-H", "Event-Type: issue", "--nats", h.nats.URL},
	} {
		if code, stdout, stderr := command(t, "", args...); code != 0 {
			t.Fatalf("exit %d, %s%s", code, stdout, stderr)
		}
	}
	if took := time.Since(begin); took < 3*time.Second/20 {
		t.Errorf("4 messages at 20 a second went out in %s", took)
	}
	for seq, want := range map[uint64]struct{ subject, sample string }{1: {"github.push", "github.push"}, 4: {"github.push", "github.push"}, 5: {"other", "github.issues"}} {
		payload, err := samplePayload(want.sample)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil || m.Subject != want.subject || string(m.Data) != string(payload) {
			t.Errorf("message %d: %v, not the sample %s on %s", seq, err, want.sample, want.subject)
		}
	}
	for name, args := range map[string][]string{
		"no sample \"github.pull\"": {"send", "--sample", "github.pull"}, "leave out FILE": {"send", "x", "-", "--sample", "github.push"},
		"which subject?": {"send"}, "--rate": {"send", "x", "--rate", "-1"},
	} {
		if code, _, stderr := command(t, "", args...); code != exitUsage || !strings.Contains(stderr, name) {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}

// What a request says moves no cursor and begins no line.
func TestReceivePrintsNoControlCharacters(t *testing.T) {
	var out output
	srv := httptest.NewServer(&receiver{status: http.StatusNoContent, seen: map[string]int{}, out: &out})
	defer srv.Close()
	answerOf(t, srv.URL+"/%1b[2J%0aattempt")
	if got := out.String(); strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}

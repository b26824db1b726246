package admin_test

import (
	"testing"

	"relay/dlqstore"
)

func TestGroups(t *testing.T) {
	s := start(t, nil)
	ids := s.add(
		dead(0, nil), dead(1, nil),
		dead(2, func(d *dlqstore.DeadLetter) {
			d.Status, d.Error = 0, "refused: dial tcp 10.0.0.1:80: connection refused"
		}),
		dead(3, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }),
	)
	got := s.get("/api/v1/dead-letter-groups?route=orders-to-billing&limit=1")
	want := `{"groups":[{"route":"orders-to-billing","fingerprint":"398502b4b7d3f566","cause":"the receiver answered 503",` +
		`"error_class":"5xx","status":503,"reason":"exhausted","count":2,` +
		`"first_seen":"2026-03-04T11:00:00Z","last_seen":"2026-03-04T11:00:01Z","sample":"` + ids[1] + `",` +
		`"hours":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,2,0]}]}` + "\n"
	if got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
	if got := s.get("/api/v1/dead-letter-groups?status=404").body; got != `{"groups":[]}`+"\n" {
		t.Errorf("no groups: got %s", got)
	}
	var list listed
	s.decode(s.get("/api/v1/dead-letters?fingerprint=398502b4b7d3f566"), &list)
	if len(list.DeadLetters) != 3 {
		t.Errorf("chosen by fingerprint: got %d, want 3", len(list.DeadLetters))
	}
	if code := s.code(s.get("/api/v1/dead-letter-groups?rout=x")); code != "invalid_parameter" {
		t.Errorf("misspelt parameter: got %q", code)
	}
}

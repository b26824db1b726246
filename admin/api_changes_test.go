package admin_test

import (
	"net/http"
	"testing"

	"relay/dlqstore"
)

func TestChangeMany(t *testing.T) {
	s := start(t, nil)
	ids := s.add(dead(0, nil), dead(1, nil), dead(2, nil),
		dead(3, func(d *dlqstore.DeadLetter) { d.Route = "orders-to-search" }))
	discard, restore := "/api/v1/dead-letters/discard", "/api/v1/dead-letters/restore"
	for _, step := range []struct{ path, body, want string }{
		{discard, `{"filter":{"route":"orders-to-billing"},"dry_run":true}`, `{"count":3}`},
		{discard, `{"filter":{"route":"orders-to-billing"},"limit":2,"reason":"test traffic"}`, `{"count":2,"more":false}`},
		{discard, `{"filter":{"ids":["` + ids[0] + `","` + ids[3] + `"]}}`, `{"count":1,"more":false}`},
		{restore, `{"filter":{},"dry_run":true}`, `{"count":3}`},
		{restore, `{"filter":{"route":"orders-to-search"}}`, `{"count":1,"more":false}`},
	} {
		if got := s.post(step.path, step.body); got.status != http.StatusOK || got.body != step.want+"\n" {
			t.Errorf("%s %s: got %d %s, want %s", step.path, step.body, got.status, got.body, step.want)
		}
	}
	var d struct{ State string }
	for id, want := range map[string]string{ids[0]: "discarded", ids[1]: "discarded", ids[2]: "dead", ids[3]: "dead"} {
		if s.decode(s.get("/api/v1/dead-letters/"+id), &d); d.State != want {
			t.Errorf("%s is %s, want %s", id, d.State, want)
		}
	}
	for name, body := range map[string]string{
		"no filter": `{}`, "misspelt": `{"filter":{"rout":"x"}}`, "a state": `{"filter":{"state":"dead"}}`,
		"bad id": `{"filter":{"ids":["x"]}}`, "negative limit": `{"filter":{},"limit":-1}`, "reason with NUL": `{"filter":{},"reason":"\u0000"}`,
	} {
		if got := s.post(discard, body); got.status != http.StatusBadRequest || s.code(got) == "" {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
		}
	}
}

package routes_test

import (
	"testing"

	"relay/routes"
)

func TestVerdict(t *testing.T) {
	rules := routes.StatusRules{
		{From: 400, To: 499, Verdict: routes.Term, Pattern: "4xx"},
		{From: 404, To: 410, Verdict: routes.Nak, Pattern: "404-410"},
		{From: 409, To: 409, Verdict: routes.Ack, Pattern: "409"},
		{From: 503, To: 503, Verdict: routes.Drop, Pattern: "503"},
	}
	want := func(status int) (routes.Verdict, bool) {
		switch {
		case status == 409:
			return routes.Ack, true
		case status >= 404 && status <= 410:
			return routes.Nak, true
		case status >= 400 && status <= 499:
			return routes.Term, true
		case status == 503:
			return routes.Drop, true
		}
		return "", false
	}
	for status := range 1000 {
		got, ok := rules.Verdict(status)
		if wantVerdict, wantOK := want(status); got != wantVerdict || ok != wantOK {
			t.Errorf("status %d: got %q %v, want %q %v", status, got, ok, wantVerdict, wantOK)
		}
	}
	if _, ok := routes.StatusRules(nil).Verdict(200); ok {
		t.Error("no rules have a verdict")
	}
}

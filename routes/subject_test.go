package routes_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"relay/routes"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"orders.created", "orders.created", true},
		{"orders.created", "orders.paid", false},
		{"orders.created", "orders", false},
		{"orders", "orders.created", false},
		{"orders.*", "orders.created", true},
		{"orders.*", "orders", false},
		{"orders.*", "orders.eu.created", false},
		{"*.created", "orders.created", true},
		{"orders.>", "orders.created", true},
		{"orders.>", "orders.eu.created", true},
		{"orders.>", "orders", false},
		{">", "orders", true},
		{">", "", false},
		{"*.*", "orders", false},
		{"orders.*.updated", "orders.7.updated", true},
	} {
		if got := routes.Matches(c.filter, c.subject); got != c.want {
			t.Errorf("%q matches %q: got %v, want %v", c.filter, c.subject, got, c.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"orders.created", "orders.created", true},
		{"orders.created", "orders.paid", false},
		{"orders.*", "orders.created", true},
		{"orders.*", "orders.*.paid", false},
		{"orders.>", "orders.*.paid", true},
		{"orders.>", "orders", false},
		{"*.paid", "orders.*", true},
		{"*.paid", "orders.*.paid", false},
		{"*.>", "orders.created", true},
		{"*.>", "orders", false},
		{">", "orders", true},
	} {
		if got := routes.Overlap(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: got %v, want %v", c.a, c.b, got, c.want)
		}
		if got := routes.Overlap(c.b, c.a); got != c.want {
			t.Errorf("%q and %q: got %v, want %v", c.b, c.a, got, c.want)
		}
	}
}

// Over a small alphabet every subject can be tried: two filters overlap exactly when
// one subject matches both.
func TestOverlapAgreesWithMatches(t *testing.T) {
	var subjects []string
	level := []string{""}
	for range 4 {
		var next []string
		for _, s := range level {
			for _, token := range []string{"a", "b"} {
				next = append(next, strings.TrimPrefix(s+"."+token, "."))
			}
		}
		subjects, level = append(subjects, next...), next
	}
	filter := rapid.Custom(func(t *rapid.T) string {
		tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, "tokens")
		if len(tokens) == 0 || rapid.Bool().Draw(t, "rest") {
			tokens = append(tokens, ">")
		}
		return strings.Join(tokens, ".")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := filter.Draw(t, "a"), filter.Draw(t, "b")
		want := false
		for _, s := range subjects {
			want = want || routes.Matches(a, s) && routes.Matches(b, s)
		}
		if got := routes.Overlap(a, b); got != want {
			t.Fatalf("%q and %q: got %v, want %v", a, b, got, want)
		}
	})
}

package routes_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"relay/routes"
)

// With the servers' streams known, what stands under streams: is not all that is.
func TestStreamsOfTheServers(t *testing.T) {
	servers := []routes.Stream{
		{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxAge: time.Minute},
		{Name: "MIRROR"},
	}
	for name, test := range map[string]struct{ file, want, suggestion string }{
		"there":             {"routes: [{ name: a, stream: ORDERS, filter_subjects: [orders.created], webhook: { url: 'http://h' } }]", "", ""},
		"a mirror":          {"routes: [{ name: a, stream: MIRROR, filter_subjects: [any.>], webhook: { url: 'http://h' } }]", "", ""},
		"not there":         {"routes: [{ name: a, stream: ORDRES, filter_subjects: [orders.created], webhook: { url: 'http://h' } }]", "a stream is under streams:, or on the servers", "ORDERS"},
		"not its subject":   {"routes: [{ name: a, stream: ORDERS, filter_subjects: [ordres.created], webhook: { url: 'http://h' } }]", "a filter matches subjects of its stream", "orders.created"},
		"declared":          {"streams: [{ name: NEW, subjects: [new.>] }]\nroutes: [{ name: a, stream: NEW, filter_subjects: [new.>], webhook: { url: 'http://h' } }]", "", ""},
		"subject of others": {"streams: [{ name: NEW, subjects: [orders.new] }]\nroutes: [{ name: a, stream: NEW, filter_subjects: [orders.new], webhook: { url: 'http://h' } }]", "a subject is in one stream", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := routes.Parse("routes.yaml", []byte(test.file), routes.Options{Streams: servers})
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				horizon := slices.ContainsFunc(c.Warnings, func(p routes.Problem) bool { return p.Code == "horizon" })
				if horizon != (name == "there") {
					t.Errorf("warnings %v: the stream's max_age bounds the retries", c.Warnings)
				}
				return
			}
			var problems routes.Problems
			if !errors.As(err, &problems) || !slices.ContainsFunc(problems, func(p routes.Problem) bool {
				return !p.Warning && strings.Contains(p.Message, test.want) && p.Suggestion == test.suggestion
			}) {
				t.Errorf("got %v, want %q with the suggestion %q", err, test.want, test.suggestion)
			}
		})
	}
}

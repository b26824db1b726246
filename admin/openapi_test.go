package admin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"relay/admin"
	"relay/dlqstore"
)

// document reads the OpenAPI document and returns the routes that it describes.
func document(s *surface) (raw string, routes map[string]bool) {
	s.t.Helper()
	raw = s.get("/api/v1/openapi.json").body
	var about struct {
		OpenAPI string
		Servers []struct{ URL string }
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(raw), &about); err != nil || about.OpenAPI != "3.1.0" || about.Servers[0].URL != "/relay/api/v1" {
		s.t.Fatalf("%v %s %v", err, about.OpenAPI, about.Servers)
	}
	routes = map[string]bool{}
	for path, methods := range about.Paths {
		for method := range methods {
			routes[strings.ToUpper(method)+" /api/v1"+path] = true
		}
	}
	return raw, routes
}

func TestOpenAPIRoutes(t *testing.T) {
	s := start(t, func(o *admin.Options) { o.BasePath = "/relay" })
	_, documented := document(s)
	routed := map[string]bool{}
	err := chi.Walk(s.handler.(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if strings.HasPrefix(pattern, "/api/v1") {
			routed[method+" "+pattern] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range slices.Sorted(maps.Keys(documented)) {
		if !routed[route] {
			t.Errorf("%s is documented, and there is none", route)
		}
	}
	for _, route := range slices.Sorted(maps.Keys(routed)) {
		if !documented[route] {
			t.Errorf("%s is not documented", route)
		}
	}
}

// TestOpenAPIAnswers holds every answer to the schema that the document has for it.
func TestOpenAPIAnswers(t *testing.T) {
	s := start(t, func(o *admin.Options) { o.BasePath = "/relay" })
	raw, documented := document(s)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	ids := night(s)
	job, err := s.store.StartJob(t.Context(), dlqstore.JobSpec{Filter: dlqstore.Filter{Route: "orders-to-search"}}, dlqstore.Actor{Name: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, ask := range []struct {
		route, body string
		id          string
		status      int
	}{
		{"GET /openapi.json", "", "", 200},
		{"GET /routes", "", "", 200},
		{"GET /routes/{name}", "", "orders-to-billing", 200},
		{"GET /routes/{name}", "", "nobody", 404},
		{"POST /routes/{name}/pause", "", "orders-to-billing", 200},
		{"POST /routes/{name}/resume", "{}", "orders-to-billing", 200},
		{"POST /reload", "", "", 501},
		{"GET /dead-letters", "", "", 200},
		{"GET /dead-letters/{id}", "", ids[0], 200},
		{"GET /dead-letter-groups", "", "", 200},
		{"POST /dead-letters/{id}/replay", `{"payload_base64":"e30="}`, ids[0], 202},
		{"POST /dead-letters/{id}/replay", `{"to":"nowhere"}`, ids[4], 400},
		{"POST /dead-letters/{id}/discard", `{"reason":"test"}`, ids[4], 200},
		{"POST /dead-letters/{id}/restore", "", ids[4], 200},
		{"POST /dead-letters/discard", `{"filter":{"status":422},"dry_run":true}`, "", 200},
		{"POST /dead-letters/discard", `{"filter":{"status":422}}`, "", 200},
		{"POST /dead-letters/restore", `{"filter":{"status":422}}`, "", 200},
		{"POST /dead-letters/import", "", "", 200},
		{"POST /dead-letters/rebuild", "", "", 501},
		{"GET /replays", "", "", 200},
		{"POST /replays", `{"filter":{},"dry_run":true}`, "", 200},
		{"POST /replays", `{"filter":{"status":422}}`, "", 202},
		{"GET /replays/{id}", "", job.ID, 200},
		{"GET /replays/{id}/items", "", job.ID, 200},
		{"POST /replays/{id}/rate", `{"rate_per_second":0.5}`, job.ID, 200},
		{"POST /replays/{id}/rate", "{}", job.ID, 400},
		{"POST /replays/{id}/pause", "", job.ID, 200},
		{"POST /replays/{id}/resume", "", job.ID, 200},
		{"POST /replays/{id}/cancel", "", job.ID, 200},
		{"GET /audit", "", "", 200},
	} {
		method, path, _ := strings.Cut(ask.route, " ")
		got := s.do(method, "/api/v1"+strings.NewReplacer("{id}", ask.id, "{name}", ask.id).Replace(path), ask.body, nil)
		if got.status != ask.status {
			t.Errorf("%s %s: got %d, want %d: %s", ask.route, ask.body, got.status, ask.status, got.body)
			continue
		}
		checked[method+" /api/v1"+path] = true
		at := "#/components/schemas/Error"
		if got.status < 400 {
			at = fmt.Sprintf("#/paths/%s/%s/responses/%d/content/application~1json/schema", strings.ReplaceAll(path, "/", "~1"), strings.ToLower(method), got.status)
		}
		schema, err := compiler.Compile("openapi.json" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(at))
		if err != nil {
			t.Fatalf("%s: %v", ask.route, err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s answers otherwise than documented: %v\n%s", ask.route, err, cutText(got.body))
		}
	}
	checked["GET /api/v1/dead-letters/{id}/payload"] = true // bytes
	for route := range documented {
		if !checked[route] {
			t.Errorf("%s: no answer is checked here", route)
		}
	}
}

func cutText(s string) string { return s[:min(len(s), 600)] }

package routes_test

import (
	"testing"

	"relay/routes"
)

func TestExpansion(t *testing.T) {
	for _, c := range []struct{ written, want string }{
		{`plain`, "plain"},
		{`${TENANT}`, "acme"},
		{`"${TENANT}"`, "acme"},
		{`a-${TENANT}-b-${CONCURRENCY}`, "a-acme-b-4"},
		{`${NOT_SET:-other}`, "other"},
		{`${EMPTY:-other}`, "other"},
		{`${TENANT:-other}`, "acme"},
		{`x${NOT_SET:-}`, "x"},
		{`x${EMPTY}`, "x"},
		{`$${TENANT}`, "${TENANT}"},
		{`$$${TENANT}`, "$${TENANT}"},
		{`$TENANT costs 5$`, "$TENANT costs 5$"},
		{`${NOT_SET:-a:b-c}`, "a:b-c"},
	} {
		config, err := routes.Parse("routes.yaml", []byte(route("shop", "    description: "+c.written+"\n")), testOptions())
		if err != nil {
			t.Errorf("%s: %v", c.written, err)
			continue
		}
		if got := config.Routes[0].Description; got != c.want {
			t.Errorf("%s: got %q, want %q", c.written, got, c.want)
		}
	}
}

// A value from the environment is read as the key wants it, in quotes or not.
func TestExpansionInNumbersDurationsAndWords(t *testing.T) {
	file := route("shop", "    concurrency: \"${CONCURRENCY}\"\n    enabled: ${ON:-false}\n    order: ${ORDER:-none}\n    retry: { max_age: \"${AGE:-2d}\", backoff: { jitter: \"${JITTER:-0.5}\" } }\n")
	c, err := routes.Parse("routes.yaml", []byte(file), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	r := c.Routes[0]
	if r.Concurrency != 4 || r.Enabled || r.Retry.MaxAge.Hours() != 48 || r.Retry.Backoff.Jitter != 0.5 {
		t.Errorf("got %d, %v, %v, %v", r.Concurrency, r.Enabled, r.Retry.MaxAge, r.Retry.Backoff.Jitter)
	}
}

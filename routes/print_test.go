package routes_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"relay/routes"
)

func TestWriteProblems(t *testing.T) {
	problems := routes.Problems{
		{
			Pos: routes.Position{File: "a,b.yaml", Line: 14, Column: 4}, Path: `routes[2] "billing": retry.max_atempts`,
			Code: "unknown-key", Message: "unknown key 100%", Suggestion: "max_attempts", Source: "\t\t\tmax_atempts: 3\x1b[31m",
		},
		{Pos: routes.Position{File: "c.yaml"}, Code: "empty", Message: "nothing\nhere", Warning: true},
	}
	for _, c := range []struct{ format, want string }{
		{"text", "a,b.yaml:14:4: routes[2] \"billing\": retry.max_atempts: unknown key 100%, did you mean \"max_attempts\"?\n" +
			"  14 |    max_atempts: 3·[31m\n" +
			"     |    ^\n" +
			"c.yaml: warning: nothing\nhere\n"},
		{"github", "::error file=a%2Cb.yaml,line=14,col=4,title=unknown-key::routes[2] \"billing\": retry.max_atempts: unknown key 100%25, did you mean \"max_attempts\"?\n" +
			"::warning file=c.yaml,title=empty::nothing%0Ahere\n"},
	} {
		var b strings.Builder
		if err := routes.WriteProblems(&b, c.format, problems); err != nil || b.String() != c.want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", c.format, err, b.String(), c.want)
		}
	}
}

func TestWriteProblemsAsJSON(t *testing.T) {
	problems := routes.Problems{{
		Pos: routes.Position{File: "a.yaml", Line: 14, Column: 4}, Path: "routes", Code: "type", Message: "a <list>", Suggestion: "x", Warning: true,
	}}
	var b strings.Builder
	if err := routes.WriteProblems(&b, "json", problems); err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"a.yaml","line":14,"column":4,"path":"routes","code":"type","severity":"warning","message":"a <list>","suggestion":"x"}]`
	if got := strings.NewReplacer("\n", "", "  ", "", ": ", ":").Replace(b.String()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b.Reset()
	if err := routes.WriteProblems(&b, "json", nil); err != nil || b.String() != "[]\n" {
		t.Errorf("none: got %q and %v", b.String(), err)
	}
}

func TestPeopleAreShownFifty(t *testing.T) {
	_, err := routes.Parse("r.yaml", []byte("routes:\n"+strings.Repeat("  - {}\n", 20)), routes.Options{})
	var problems routes.Problems
	if errors.As(err, &problems); len(problems) != 80 {
		t.Fatalf("got %d problems, want 80", len(problems))
	}
	for format, want := range map[string]struct {
		mark  string
		count int
		last  string
	}{
		"text":   {"r.yaml:", 50, "and 30 more\n"},
		"github": {"::error", 50, "::notice::and 30 more\n"},
		"json":   {`"file"`, 80, "]\n"},
	} {
		var b strings.Builder
		if err := routes.WriteProblems(&b, format, problems); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), want.mark); got != want.count || !strings.HasSuffix(b.String(), want.last) {
			t.Errorf("%s: got %d and the end %q", format, got, b.String()[b.Len()-30:])
		}
		if format == "json" && !json.Valid([]byte(b.String())) {
			t.Error("the JSON is none")
		}
	}
	if err := routes.WriteProblems(&strings.Builder{}, "xml", problems); err == nil {
		t.Error("an unknown format is no error")
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := routes.Parse("r.yaml", []byte("routes:\n"+strings.Repeat("  - {}\n", 1_000)), routes.Options{})
	problems, _ := errors.AsType[routes.Problems](err)
	if len(problems) != 1_001 || problems[1_000].Code != "limit" {
		t.Errorf("got %d problems, want 1000 and one that says so", len(problems))
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteProblemsTellsOfAFullDisk(t *testing.T) {
	for _, format := range []string{"text", "github", "json"} {
		if err := routes.WriteProblems(full{}, format, routes.Problems{{Message: "x"}}); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
}

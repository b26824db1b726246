package routes_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"relay/routes"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// testOptions has an environment of its own, and filters of which one is bad.
func testOptions() routes.Options {
	return routes.Options{
		LookupEnv: func(name string) (string, bool) {
			value, ok := map[string]string{
				"TENANT": "acme", "EMPTY": "", "CONCURRENCY": "4",
				"TOKEN": "t0ken", "PASSWORD": "passw0rd",
			}[name]
			return value, ok
		},
		CheckFilter: func(expression string) error {
			if strings.HasSuffix(expression, ">") {
				return errors.New("unexpected end at column 13")
			}
			return nil
		},
	}
}

// problemsOf are the problems of a file, or the warnings of a valid one.
func problemsOf(t *testing.T, name string, data []byte) routes.Problems {
	t.Helper()
	c, err := routes.Parse(name, data, testOptions())
	var problems routes.Problems
	switch {
	case err == nil:
		return c.Warnings
	case !errors.As(err, &problems):
		t.Fatalf("%s: %v", name, err)
	}
	return problems
}

func badFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 80 {
		t.Fatalf("got %d bad files and %v, want at least 80", len(files), err)
	}
	return files
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// compare holds got against a file, or writes the file with -update.
func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := read(t, file); string(got) != string(want) {
		t.Errorf("%s is not what is made now (-update writes it)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// Each bad file holds one mistake; what is told about it stands beside it.
func TestBadFiles(t *testing.T) {
	for _, file := range badFiles(t) {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			problems := problemsOf(t, name, read(t, file))
			if len(problems) != 1 {
				t.Errorf("got %d problems, want one", len(problems))
			}
			var b strings.Builder
			if err := routes.WriteProblems(&b, "text", problems); err != nil {
				t.Fatal(err)
			}
			compare(t, strings.TrimSuffix(file, ".yaml")+".want", []byte(b.String()))
		})
	}
}

// No bad file makes relay tell a secret that stands in it.
func TestProblemsTellNoSecret(t *testing.T) {
	for _, file := range badFiles(t) {
		var b strings.Builder
		for _, format := range []string{"text", "json", "github"} {
			if err := routes.WriteProblems(&b, format, problemsOf(t, file, read(t, file))); err != nil {
				t.Fatal(err)
			}
		}
		for _, secret := range []string{"hunter", "aHVudGVyMg", "t0ken", "passw0rd"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s: a secret is told:\n%s", file, b.String())
			}
		}
	}
}

// What is told about a file is told as well when every route of it has another
// mistake, and nothing else is: nobody should need two runs to see all.
func TestAMistakeHidesNoOther(t *testing.T) {
	name := regexp.MustCompile(`(?m)^  - name: *[a-z0-9-]+$`)
	position := regexp.MustCompile(`[^ ]+\.yaml:\d+:\d+`) // the other mistake moves lines
	told := func(problems routes.Problems) []string {
		var all []string
		for _, p := range problems {
			if !strings.HasSuffix(p.Path, ": flavour") {
				all = append(all, position.ReplaceAllString(p.Path+": "+p.Message, "PLACE"))
			}
		}
		slices.Sort(all)
		return all
	}
	// Past these nobody knows what the rest of the file means.
	unreadable := []string{"syntax", "encoding", "empty", "documents", "limit", "alias", "type"}
	tried := 0
	for _, file := range badFiles(t) {
		head, rest, found := strings.Cut(string(read(t, file)), "routes:\n")
		worse := name.ReplaceAllString(rest, "$0\n    flavour: mild")
		if !found || worse == rest {
			continue
		}
		tried++
		want := told(problemsOf(t, file, []byte(head+"routes:\n"+rest)))
		both := problemsOf(t, file, []byte(head+"routes:\n"+worse))
		if got := told(both); !slices.Equal(got, want) {
			t.Errorf("%s with another mistake:\ngot  %v\nwant %v", file, got, want)
		}
		if len(told(both)) == len(both) && !slices.ContainsFunc(both, func(p routes.Problem) bool { return slices.Contains(unreadable, p.Code) }) {
			t.Errorf("%s: the other mistake is not told", file)
		}
	}
	if tried < 150 {
		t.Errorf("tried %d files, want most of them", tried)
	}
}

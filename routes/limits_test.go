package routes_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"relay/routes"
)

// worst are files that cost a careless reader the most.
func worst() map[string]string {
	const size = 1<<20 - 100
	full := func(s string) string { return strings.Repeat(s, size/len(s)) }
	var lines, headers strings.Builder
	for i := 0; lines.Len() < size-20; i++ {
		fmt.Fprintf(&lines, "k%x: &a%x 1\n", i, i)
	}
	for i := range 2_000 {
		fmt.Fprintf(&headers, "      X-%d: a\n", i)
	}
	bomb := "x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return map[string]string{
		"list in brackets":        "[" + full("a,") + "]",
		"mapping in braces":       "{" + full("a,") + "}",
		"pairs in brackets":       "[" + full("a: b,") + "]",
		"open brackets":           full("["),
		"open braces":             full("{"),
		"open braces with keys":   full("{a: "),
		"dashes":                  full("- "),
		"dashes on lines":         full("-\n"),
		"dashes with comments":    full("- #\n"),
		"questions":               full("?\n"),
		"keys with comments":      full("a:\n#\n"),
		"lines":                   lines.String(),
		"one word":                full("a"),
		"open quote":              "\"" + full("a"),
		"comments":                full("# a\n"),
		"spaces":                  full(" "),
		"aliases":                 "a: &a [1, 1]\nb: [" + strings.TrimSuffix(strings.Repeat("*a, ", 30_000), ", ") + "]",
		"alias bomb":              bomb,
		"documents":               full("---\n"),
		"nested beyond the depth": strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
		"unknown keys":            "routes:\n" + strings.Repeat("  - colour: x\n", 3_000),
		"defaults many times":     "defaults:\n  webhook:\n    headers:\n" + headers.String() + "routes: [" + strings.TrimSuffix(strings.Repeat("{}, ", 3_000), ", ") + "]",
		"subjects":                "routes: [{filter_subjects: [" + strings.TrimSuffix(strings.Repeat("a.b, ", 9_900), ", ") + "]}]",
		"late syntax mistake":     full("# a\n")[:100_000] + strings.Repeat("- a\n", 2_900) + "b: [",
	}
}

// No file makes relay take more than 64 MiB in all, freed or not, to refuse it.
func TestTheWorstFilesAreRefusedCheaply(t *testing.T) {
	for name, file := range worst() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := routes.Parse("routes.yaml", []byte(file), routes.Options{})
			runtime.ReadMemStats(&after)
			if _, ok := errors.AsType[routes.Problems](err); !ok {
				t.Fatalf("got %v, want it refused", err)
			}
			const most = 64 << 20
			if used := after.TotalAlloc - before.TotalAlloc; used > most {
				t.Errorf("got %d MiB, want at most %d", used>>20, most>>20)
			}
		})
	}
}

func BenchmarkWorst(b *testing.B) {
	for name, file := range worst() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := routes.Parse("routes.yaml", []byte(file), routes.Options{}); err == nil {
					b.Fatal("it is not refused")
				}
			}
		})
	}
}

// BenchmarkParse reads a file of 500 routes.
func BenchmarkParse(b *testing.B) {
	var file strings.Builder
	file.WriteString("streams: [{ name: ORDERS, subjects: [orders.>] }]\nroutes:\n")
	for i := range 500 {
		fmt.Fprintf(&file, "  - name: r%d\n    stream: ORDERS\n    filter_subjects: [orders.r%d]\n    webhook: { url: \"https://example.com/%d\" }\n", i, i, i)
	}
	for b.Loop() {
		if _, err := routes.Parse("routes.yaml", []byte(file.String()), routes.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the bytes, the answer is a configuration or problems, each of which has
// a place in the file and can be written.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/cookbook/*.yaml", "testdata/bad/*.yaml"} {
		for _, file := range glob(f, pattern) {
			f.Add(read(f, file))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := routes.Parse("routes.yaml", data, testOptions())
		var problems routes.Problems
		switch {
		case err == nil:
			for _, r := range c.Routes {
				if r.Name == "" || r.Webhook.URL == "" || r.Consumer.AckWait <= r.Webhook.Timeout || r.Concurrency < 1 {
					t.Fatalf("an incomplete route is taken: %+v", r)
				}
			}
			problems = c.Warnings
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Fatalf("got %v, want problems", err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
			strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 1
		for _, p := range problems {
			if p.Code == "" || p.Message == "" || p.Pos.Line < 0 || p.Pos.Line > lines+1 || p.Pos.Column < 0 {
				t.Fatalf("a problem without a place or a text: %+v", p)
			}
		}
		if err := routes.WriteProblems(&strings.Builder{}, "text", problems); err != nil {
			t.Fatal(err)
		}
	})
}

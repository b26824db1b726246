package dispatcher

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"relay/routes"
)

// The status tables that people read say what classify does.
func TestStatusTablesOfTheDocs(t *testing.T) {
	codes := regexp.MustCompile(`\b([1-5]\d\d)(?:–([1-5]\d\d))?\b`)
	for _, path := range []string{"../README.md", "../docs/receivers.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(text), "<!-- status table -->")
		table, _, found := strings.Cut(table, "<!-- /status table -->")
		if !found {
			t.Fatalf("%s has no status table between its markers", path)
		}
		var retried []int // the 4xx of the row for nak
		rows := 0
		for line := range strings.Lines(table) {
			cells := strings.Split(line, "|")
			if len(cells) < 3 || !strings.Contains(cells[2], "`") {
				continue // the heading
			}
			rows++
			want := routes.Verdict(strings.Split(cells[2], "`")[1])
			for _, m := range codes.FindAllStringSubmatch(cells[1], -1) {
				from, _ := strconv.Atoi(m[1])
				to := from
				if m[2] != "" {
					to, _ = strconv.Atoi(m[2])
				}
				for code := from; code <= to; code++ {
					if got := classify(answer(code), first(), policy()).Verdict; got != want {
						t.Errorf("%s says %d is %s, and it is %s", path, code, want, got)
					}
					if want == routes.Nak {
						retried = append(retried, code)
					}
				}
			}
		}
		if rows != 4 {
			t.Errorf("%s: the table has %d rows, want 4", path, rows)
		}
		for code := 400; code <= 499; code++ {
			if nak := classify(answer(code), first(), policy()).Verdict == routes.Nak; nak != slices.Contains(retried, code) {
				t.Errorf("%s: %d is in the row for nak: %t, and is nak: %t", path, code, !nak, nak)
			}
		}
	}
}

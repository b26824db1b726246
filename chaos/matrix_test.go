package chaos_test

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// reliability is the page that has the matrix, between its two marks.
const (
	reliability = "../docs/reliability.md"
	matrixBegin = "<!-- matrix -->\n"
	matrixEnd   = "<!-- end of matrix -->"
	matrixHead  = `| scenario | the fault, and how it is made | what must hold besides | seed | took | last result |
|---|---|---|---|---|---|
`
)

// title is the part of a scenario's row that no run changes.
func (s scenario) title() string {
	return fmt.Sprintf("| `%s` | %s | %s |", s.name, s.fault, s.holds)
}

// row is the scenario's row of the matrix after a run.
func (s scenario) row(seed uint64, took time.Duration, result string) string {
	return fmt.Sprintf("%s %d | %s | %s |", s.title(), seed, took.Round(time.Second), result)
}

// readMatrix splits the page: what stands before the matrix, its lines, and what follows.
func readMatrix(t *testing.T) (before string, lines []string, after string) {
	t.Helper()
	page, err := os.ReadFile(reliability)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), matrixBegin)
	table, after, ends := strings.Cut(rest, matrixEnd)
	if !begins || !ends {
		t.Fatalf("%s has no matrix between %q and %q", reliability, matrixBegin, matrixEnd)
	}
	return before, strings.Split(strings.TrimSpace(table), "\n"), after
}

// record puts the rows of a run into the page, and leaves those of other scenarios.
func record(t *testing.T, rows map[string]string) {
	t.Helper()
	before, lines, after := readMatrix(t)
	table := matrixHead
	for _, s := range scenarios() {
		row := rows[s.name]
		for _, line := range lines {
			if row == "" && strings.HasPrefix(line, s.title()) {
				row = line
			}
		}
		table += cmp.Or(row, s.title()+" | | not run |") + "\n"
	}
	if err := os.WriteFile(reliability, []byte(before+matrixBegin+table+matrixEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The names are what people type, and the page says of each what it does.
func TestNames(t *testing.T) {
	_, lines, _ := readMatrix(t)
	seen := map[string]bool{}
	for _, s := range scenarios() {
		t.Log(s.name)
		if seen[s.name] {
			t.Errorf("two scenarios are called %s", s.name)
		}
		seen[s.name] = true
		found := false
		for _, line := range lines {
			found = found || strings.HasPrefix(line, s.title())
		}
		if !found {
			t.Errorf("%s does not have the row of %s as it is; CHAOS_RECORD=1 CHAOS_RUN=%s writes it", reliability, s.name, s.name)
		}
	}
}

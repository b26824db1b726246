package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// benchLine is one line that `go test -bench` printed.
type benchLine struct {
	path    []string // the name, at its slashes
	figures map[string]string
}

func (l benchLine) part(i int) string {
	if i >= len(l.path) {
		return ""
	}
	return l.path[i]
}

// figure is the value with the unit; "–" when there is none.
func (l benchLine) figure(unit string) string {
	if v, ok := l.figures[unit]; ok {
		return v
	}
	return "–"
}

// goBench runs a benchmark of relay's own and returns what it printed.
func goBench(ctx context.Context, pkg, name, benchtime string, env ...string) ([]benchLine, error) {
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "relay").Output()
	if err != nil {
		return nil, fmt.Errorf("find relay's folder: %w; run the suite in bench/", err)
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark"+name+"$", "-benchtime", benchtime, "-timeout", "10m", pkg) //nolint:gosec // the names are ours
	cmd.Dir, cmd.Env = strings.TrimSpace(string(dir)), append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return parseBench(string(out)), nil
}

// parseBench reads lines of a name, a count and pairs of value and unit.
func parseBench(out string) []benchLine {
	var lines []benchLine
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := words[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of CPUs
		}
		l := benchLine{path: strings.Split(strings.ReplaceAll(name, "_", " "), "/"), figures: map[string]string{}}
		for i := 2; i+1 < len(words); i += 2 {
			l.figures[words[i+1]] = words[i]
		}
		lines = append(lines, l)
	}
	return lines
}

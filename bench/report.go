package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"
)

// report writes Markdown as the suite goes.
type report struct{ out io.Writer }

func (r *report) title(text string) { fmt.Fprintf(r.out, "## %s\n\n", text) }

func (r *report) paragraph(format string, args ...any) { fmt.Fprintf(r.out, format+"\n\n", args...) }

func (r *report) table(t table) {
	t.write(r.out)
	fmt.Fprintln(r.out)
}

// verdict is a figure that relay set out to reach.
func verdict(figure string, reached bool) string {
	if reached {
		return figure + " reached"
	}
	return "**" + figure + " not reached**"
}

// machine names what the figures hold for. dir is where NATS keeps its files.
func (r *report) machine(dir string) {
	r.title("The machine")
	deps := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			deps[d.Path] = d.Version
		}
	}
	t := table{head: []string{"", ""}}
	t.row("CPU", fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name")))
	t.row("memory", field("/proc/meminfo", "MemTotal"))
	t.row("system", fmt.Sprintf("Linux %s, %s", firstWord("/proc/sys/kernel/osrelease"), runtime.Version()))
	t.row("NATS's files", "in "+dir)
	for _, path := range []string{
		"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/valyala/fasthttp",
		"github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-nats/v2", "github.com/ThreeDotsLabs/watermill-http/v2",
	} {
		t.row(path, deps[path])
	}
	t.row("load average at the start", loadAverage())
	r.table(t)
}

// table is a Markdown table. Its columns are as wide as they need to be.
type table struct {
	head []string
	rows [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(out io.Writer) {
	width := make([]int, len(t.head))
	all := append([][]string{t.head}, t.rows...)
	for _, row := range all {
		for i, c := range row {
			width[i] = max(width[i], 3, utf8.RuneCountInString(c))
		}
	}
	var b bytes.Buffer
	for n, row := range all {
		for i, c := range row {
			fmt.Fprintf(&b, "| %s%s ", c, strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, w := range width {
				b.WriteString("|" + strings.Repeat("-", w+2))
			}
			b.WriteString("|\n")
		}
	}
	_, _ = out.Write(b.Bytes()) // as fmt.Fprint to a terminal
}

// median of at least one figure. Of an even number it is the mean of the middle two.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// spread is the median with the least and the most, rounded to so many digits after
// the point.
func spread(v []float64, digits int) string {
	round := func(f float64) string { return fmt.Sprintf("%.*f", digits, f) }
	if len(v) == 1 {
		return round(v[0])
	}
	return fmt.Sprintf("%s (%s–%s)", round(median(v)), round(slices.Min(v)), round(slices.Max(v)))
}

// exponent says how a cost grows with its size between the first and the last: 1 is
// linear, 2 square, 0 not at all.
func exponent(sizes, costs []float64) float64 {
	last := len(sizes) - 1
	return math.Log(costs[last]/costs[0]) / math.Log(sizes[last]/sizes[0])
}

// field is the value of the first line of a file of /proc that begins with the key.
func field(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// firstWord of a file of /proc; "unknown" when there is none.
func firstWord(path string) string { return words(path)[0] }

// loadAverage of one, five and fifteen minutes: whether others were at work.
func loadAverage() string {
	all := words("/proc/loadavg")
	return strings.Join(all[:min(3, len(all))], " ")
}

func words(path string) []string {
	b, err := os.ReadFile(path)
	if all := strings.Fields(string(b)); err == nil && len(all) > 0 {
		return all
	}
	return []string{"unknown"}
}

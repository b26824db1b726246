package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"relay/internal/fleet"
)

// sparkView is a small row of bars without axes.
type sparkView struct {
	Path, Title string
}

// spark draws counts in a box of 96 by 20. Nil: there is nothing to draw.
func spark(counts []int, title string) *sparkView {
	most, all := 0, 0
	for _, n := range counts {
		most, all = max(most, n), all+n
	}
	if most == 0 {
		return nil
	}
	var path strings.Builder
	width := 96 / float64(len(counts))
	for i, n := range counts {
		if n > 0 {
			bar(&path, float64(i)*width, 20, width-1, max(1.5, 20*float64(n)/float64(most)))
		}
	}
	return &sparkView{path.String(), digits(all) + " " + title}
}

// bar draws one from its foot up.
func bar(path *strings.Builder, x, foot, width, height float64) {
	fmt.Fprintf(path, "M%s %sv-%sh%sv%sz", dot(x), dot(foot), dot(height), dot(width), dot(height))
}

func dot(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// chartView is a chart of the last hour, a minute a step, in a box of 600 by 100.
type chartView struct {
	Title string // what it shows, for those who do not see it
	Most  string // what its full height stands for
	Lines []lineView
}

type lineView struct {
	Tone, Name, Path string
}

const (
	chartHeight = 100.0
	minuteWidth = 10.0
)

// throughput stacks the attempts that failed on those that did not.
func throughput(hour []fleet.Minute) chartView {
	var most, delivered, failed uint64
	for _, m := range hour {
		most = max(most, m.Delivered+m.Failed)
		delivered, failed = delivered+m.Delivered, failed+m.Failed
	}
	v := chartView{
		Title: fmt.Sprintf("Attempts a minute: %s delivered, %s failed", digits(delivered), digits(failed)),
		Most:  digits(most) + " a minute",
	}
	if most == 0 {
		return v
	}
	var ok, bad strings.Builder
	for i, m := range hour {
		x, scale := float64(i)*minuteWidth, chartHeight/float64(most)
		good, wrong := float64(m.Delivered)*scale, float64(m.Failed)*scale
		if good > 0 {
			bar(&ok, x, chartHeight, minuteWidth-2, good)
		}
		if wrong > 0 {
			bar(&bad, x, chartHeight-good, minuteWidth-2, wrong)
		}
	}
	v.Lines = []lineView{{"ok", "delivered", ok.String()}, {"bad", "failed", bad.String()}}
	return v
}

// latency draws how long attempts took: half of them, and all but a twentieth.
func latency(hour []fleet.Minute) chartView {
	var most time.Duration
	for _, m := range hour {
		most = max(most, m.P95)
	}
	v := chartView{Title: "Duration of an attempt: at most " + took(most), Most: took(most)}
	if most == 0 {
		return v
	}
	for _, line := range []struct {
		tone, name string
		of         func(fleet.Minute) time.Duration
	}{{"warn", "p95", func(m fleet.Minute) time.Duration { return m.P95 }}, {"busy", "p50", func(m fleet.Minute) time.Duration { return m.P50 }}} {
		var path strings.Builder
		command := "M"
		for i, m := range hour {
			d := line.of(m)
			if d == 0 { // nothing was attempted
				command = "M"
				continue
			}
			y := chartHeight - chartHeight*float64(d)/float64(most)
			fmt.Fprintf(&path, "%s%s %sh%s", command, dot(float64(i)*minuteWidth), dot(y), dot(minuteWidth-2))
			command = "L"
		}
		v.Lines = append(v.Lines, lineView{line.tone, line.name, path.String()})
	}
	return v
}

package admin

import (
	"slices"
	"strings"
)

// diffLine is a line of a difference.
type diffLine struct {
	Tone string // ok: added, bad: taken away, quiet: the same, part: the name of what follows
	Mark string // +, - or empty
	Text string
}

// maxDiffCells bounds the work of finding what two texts have in common.
const maxDiffCells = 4 << 20

// diffPart is the difference of a part of a message, under its name; nil: there is none.
func diffPart(name, before, after string) []diffLine {
	lines := diff(before, after)
	if lines == nil {
		return nil
	}
	return append([]diffLine{{Tone: "part", Text: name}}, lines...)
}

// diff compares texts line by line, and shows a line around each change.
func diff(before, after string) []diffLine {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	if before == after {
		return nil
	}
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var lines []diffLine
	if start > 0 {
		lines = append(lines, sameLine(a[start-1]))
	}
	lines = append(lines, diffMiddle(a[start:len(a)-end], b[start:len(b)-end])...)
	if end > 0 {
		lines = append(lines, sameLine(a[len(a)-end]))
	}
	return lines
}

// diffMiddle follows the longest common subsequence, unless that is too much work.
func diffMiddle(a, b []string) []diffLine {
	common := make([][]int32, len(a)+1)
	if len(a)*len(b) <= maxDiffCells {
		for i := range common {
			common[i] = make([]int32, len(b)+1)
		}
		for i, old := range slices.Backward(a) {
			for j, line := range slices.Backward(b) {
				if old == line {
					common[i][j] = common[i+1][j+1] + 1
				} else {
					common[i][j] = max(common[i+1][j], common[i][j+1])
				}
			}
		}
	}
	var lines []diffLine
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && common[i] != nil && a[i] == b[j]:
			lines = append(lines, sameLine(a[i]))
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i] == nil || common[i+1][j] >= common[i][j+1]):
			lines = append(lines, diffLine{"bad", "-", visibleText(a[i])})
			i++
		default:
			lines = append(lines, diffLine{"ok", "+", visibleText(b[j])})
			j++
		}
	}
	return lines
}

func sameLine(text string) diffLine { return diffLine{"quiet", "", visibleText(text)} }

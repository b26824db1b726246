package routes

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one mistake in a routes file, or one warning about it.
type Problem struct {
	Pos        Position
	Path       string // as in the file, with the route's name: routes[2] "billing": retry.max_attempts
	Code       string // stable, listed in docs/routes.md
	Message    string // the rule in the positive, the value quoted
	Suggestion string // what to write instead; may be empty
	Source     string // the line as it stands in the file, secrets masked; empty when it is over 10,000 bytes
	Warning    bool   // it does not keep the file from running
}

// String is the problem in one line: FILE:LINE:COLUMN: PATH: MESSAGE.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.text())
	return b.String()
}

// text is the problem without its place.
func (p Problem) text() string {
	text := p.Message
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	if p.Suggestion != "" {
		text += ", did you mean " + strconv.Quote(p.Suggestion) + "?"
	}
	return text
}

// String is FILE:LINE:COLUMN; of a position without a line, FILE alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Problems are all the mistakes of a routes file, and the warnings about it, in file
// order: the error that Load and Parse return for a file that can be read and is not
// valid.
type Problems []Problem

// Error is every problem, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// sortProblems puts them in the order of their places; those of one place stay as
// they were found. order tells the files apart.
func sortProblems(p []Problem, order map[string]int) {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(order[a.Pos.File], order[b.Pos.File]),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
		)
	})
}

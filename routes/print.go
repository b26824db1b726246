package routes

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// maxShown is how many problems a person is shown; the mistakes that follow are
// often the first ones again.
const maxShown = 50

// WriteProblems writes the problems in one of these formats:
//
//   - text: FILE:LINE:COLUMN: PATH: MESSAGE, then the line of the file and a caret.
//   - github: workflow commands, which GitHub shows at the line of the file.
//   - json: an array of objects with file, line, column, path, code, severity (error
//     or warning), message and suggestion.
//
// Text and github show 50 and count the rest; json holds them all.
func WriteProblems(w io.Writer, format string, p Problems) error {
	switch format {
	case "json":
		return writeJSON(w, p)
	case "text":
		return writeShown(w, p, Problem.block, "and %d more\n")
	case "github":
		return writeShown(w, p, Problem.command, "::notice::and %d more\n")
	default:
		return fmt.Errorf("write problems: format %q is not one of text, json, github", format)
	}
}

func writeShown(w io.Writer, p Problems, form func(Problem) string, more string) error {
	for i, problem := range p {
		if i == maxShown {
			_, err := fmt.Fprintf(w, more, len(p)-i)
			return err
		}
		if _, err := io.WriteString(w, form(problem)); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, p Problems) error {
	type object struct {
		File       string `json:"file"`
		Line       int    `json:"line"`
		Column     int    `json:"column"`
		Path       string `json:"path"`
		Code       string `json:"code"`
		Severity   string `json:"severity"`
		Message    string `json:"message"`
		Suggestion string `json:"suggestion"`
	}
	objects := make([]object, len(p))
	for i, problem := range p {
		objects[i] = object{
			problem.Pos.File, problem.Pos.Line, problem.Pos.Column, problem.Path,
			problem.Code, problem.severity(), problem.Message, problem.Suggestion,
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(objects)
}

func (p Problem) severity() string {
	if p.Warning {
		return "warning"
	}
	return "error"
}

// block is the problem with its line and a caret under its column.
func (p Problem) block() string {
	text := p.String() + "\n"
	if strings.TrimSpace(p.Source) == "" || p.Pos.Line == 0 {
		return text
	}
	line, column := window([]rune(p.Source), p.Pos.Column)
	number := strconv.Itoa(p.Pos.Line)
	return text + fmt.Sprintf("  %s | %s\n  %s | %s^\n",
		number, line, strings.Repeat(" ", len(number)), strings.Repeat(" ", column-1))
}

// window is the part of a line around the column that fits a terminal, and the
// column in it. What a terminal could take for a command is replaced.
func window(line []rune, column int) (string, int) {
	const width, before = 120, 60
	column = min(max(column, 1), len(line)+1)
	if cut := column - 1 - before; cut > 0 && len(line) > width {
		line, column = append([]rune("…"), line[cut:]...), column-cut+1
	}
	if len(line) > width {
		line = append(line[:width:width], '…')
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '·'
		}
		return r
	}, string(line)), column
}

// command is the problem as a workflow command of GitHub Actions.
func (p Problem) command() string {
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	at := ""
	if p.Pos.Line > 0 {
		at = fmt.Sprintf(",line=%d,col=%d", p.Pos.Line, p.Pos.Column)
	}
	return fmt.Sprintf("::%s file=%s%s,title=%s::%s\n",
		p.severity(), property.Replace(p.Pos.File), at, p.Code, message.Replace(p.text()))
}

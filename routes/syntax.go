package routes

import (
	"bytes"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// separators counts the characters of which YAML needs one for every value, so that
// it bounds the values of a file before any memory is spent on them. Lines that are
// nothing but a comment do not count.
func separators(data []byte) int {
	count := 0
	for line := range bytes.Lines(data) {
		line = bytes.TrimLeft(line, " \t")
		if len(line) > 0 && line[0] == '#' {
			continue
		}
		for i, c := range line {
			switch c {
			case ',', '[', '{':
				count++
			case ':', '-', '?':
				if i+1 == len(line) || strings.IndexByte(" \t\r\n,[]{}\"'", line[i+1]) >= 0 {
					count++
				}
			}
		}
	}
	return count
}

// encodingProblem records the first character that YAML does not allow, and says
// whether there was one.
func (d *decoder) encodingProblem(src *source, data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		d.fileProblem(src, 0, 0, codeEncoding, "a routes file is saved as UTF-8, got UTF-16")
		return true
	}
	for i, text := range src.lines {
		column := 0
		for j, r := range text {
			column++
			_, size := utf8.DecodeRuneInString(text[j:])
			switch {
			case r == utf8.RuneError && size == 1:
				d.fileProblem(src, i+1, column, codeEncoding, "a routes file is saved as UTF-8, got the byte 0x%02x", text[j])
				return true
			case r < ' ' && r != '\t' || r == 0x7f || r == 0xfeff:
				d.fileProblem(src, i+1, column, codeEncoding, "a routes file holds no control characters, got %U", r)
				return true
			}
		}
	}
	return false
}

// splitLines cuts a text where YAML sees line breaks.
func splitLines(text string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text), "\n")
}

const (
	neighbours = "a key stands at the indentation of its neighbours"
	noTab      = "indentation is made of spaces, got a tab"

	closedBracket = "a [ is closed by ], with commas between the items"
	closedBrace   = "a { is closed by }, with commas between the keys; a value with { or } in it, such as ${NAME}, stands in quotes"
)

// syntaxRules say in plain words what the YAML library complains of.
func syntaxRules() [][2]string {
	return [][2]string{
		{"found a tab character that violates indentation", noTab},
		{"did not find expected alphabetic or numeric character", "a value that begins with * or & stands in quotes"},
		{"found character that cannot start any token", "a value that begins with %s stands in quotes"},
		{"mapping values are not allowed in this context", neighbours},
		{"did not find expected key", neighbours},
		{"did not find expected '-' indicator", neighbours + ", and a list item begins with -"},
		{"did not find expected ',' or ']'", closedBracket},
		{"did not find expected ',' or '}'", closedBrace},
		{"did not find expected node content", "a value stands here"},
		{"found unexpected end of stream", "a quote is closed by the same quote"},
		{"could not find expected ':'", "a key is followed by a colon and a space"},
		{"found unknown escape character", `in double quotes \ begins an escape such as \n; single quotes keep it as it is`},
		{"exceeded max depth", "values nest at most " + strconv.Itoa(maxDepth) + " deep"},
	}
}

var (
	yamlLine      = regexp.MustCompile(`^yaml: line ([0-9]+): `)
	unknownAnchor = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced$`)
)

// syntaxProblem records why the YAML library could not read the file.
func (d *decoder) syntaxProblem(src *source, data []byte, failure error) {
	text := failure.Error()
	line, column := locate(src, data, text)
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		line, column = findText(src, "*"+m[1], line)
		d.fileProblem(src, line, column, codeAlias,
			"an alias follows its anchor &%s, and a value that begins with * stands in quotes, got *%s", m[1], m[1])
		return
	}
	reason := strings.TrimPrefix(yamlLine.ReplaceAllString(text, ""), "yaml: ")
	for _, s := range syntaxRules() {
		if !strings.HasPrefix(reason, s[0]) {
			continue
		}
		rule, code := s[1], codeSyntax
		before, at := aroundColumn(src, line, column)
		switch {
		case strings.HasPrefix(reason, "exceeded"):
			code = codeLimit
		case at == "\t":
			rule = noTab
		case rule == neighbours && strings.Contains(before, ": "):
			rule = "nothing follows a closing quote or bracket; quotes inside a value are of the other sort"
			if strings.HasPrefix(reason, "mapping") {
				rule = "a value with a colon and a space in it stands in quotes"
			}
		case rule == neighbours:
			column = firstColumn(src, line)
		case strings.HasSuffix(reason, "node content") && line <= len(src.lines):
			text := strings.TrimRight(src.lines[line-1], " \t")
			if strings.HasSuffix(text, "[") {
				rule, column = closedBracket, utf8.RuneCountInString(text)
			} else if strings.HasSuffix(text, "{") {
				rule, column = closedBrace, utf8.RuneCountInString(text)
			}
		}
		rule = strings.ReplaceAll(rule, "%s", at)
		d.fileProblem(src, line, column, code, "%s", rule)
		return
	}
	d.fileProblem(src, line, column, codeSyntax, "a routes file is YAML: %s", reason)
}

// locate finds the place of a syntax mistake. The library names the line where the
// value around it begins; the mistake itself is at the end of the shortest start of
// the file that the library refuses with the same words.
func locate(src *source, data []byte, failure string) (line, column int) {
	line = 1
	if m := yamlLine.FindStringSubmatch(failure); m != nil {
		line, _ = strconv.Atoi(m[1])
		line = max(line, 1)
	}
	const mostBytes, mostSeparators = 128 << 10, 3_000 // beyond, the search costs more than it is worth
	if len(data) > mostBytes || separators(data) > mostSeparators {
		return line, firstColumn(src, line)
	}
	fails := func(lines []string, rest string) bool {
		return yamlFailure([]byte(strings.Join(append(slices.Clip(lines), rest), "\n"))) == failure
	}
	found := sort.Search(len(src.lines), func(i int) bool { return fails(src.lines[:i], src.lines[i]+"\n") })
	if found == len(src.lines) {
		return line, firstColumn(src, line)
	}
	line = found + 1
	runes := []rune(src.lines[found])
	column = firstColumn(src, line)
	switch {
	case strings.Contains(failure, "or ']'"):
		column = openBracket(runes, '[', ']', column)
	case strings.Contains(failure, "or '}'"):
		column = openBracket(runes, '{', '}', column)
	case strings.Contains(failure, "indicator"), strings.Contains(failure, "expected ':'"):
	default:
		if end := sort.Search(len(runes)+1, func(i int) bool { return fails(src.lines[:found], string(runes[:i])) }); end <= len(runes) {
			column = max(column, end)
		}
	}
	return line, column
}

// openBracket is the column of the last bracket of a line that is not closed in it,
// or of its last bracket.
func openBracket(line []rune, opening, closing rune, otherwise int) int {
	closed, last := 0, otherwise
	for i, r := range slices.Backward(line) {
		switch r {
		case closing:
			closed++
		case opening:
			if closed == 0 {
				return i + 1
			}
			closed--
			last = i + 1
		}
	}
	return last
}

// firstColumn is where the text of a line begins.
func firstColumn(src *source, line int) int {
	if line > len(src.lines) {
		return 1
	}
	text := src.lines[line-1]
	return 1 + len(text) - len(strings.TrimLeft(text, " \t"))
}

// aroundColumn is what stands in a line before the column, and at it.
func aroundColumn(src *source, line, column int) (before, at string) {
	if line > len(src.lines) {
		return "", ""
	}
	runes := []rune(src.lines[line-1])
	if column > len(runes) {
		return string(runes), ""
	}
	return string(runes[:column-1]), string(runes[column-1])
}

// findText is the place of a text in the file, or the line given.
func findText(src *source, text string, line int) (int, int) {
	for i, l := range src.lines {
		if before, _, ok := strings.Cut(l, text); ok {
			return i + 1, utf8.RuneCountInString(before) + 1
		}
	}
	return line, 1
}

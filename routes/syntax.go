package routes

import (
	"regexp"
	"strconv"
	"strings"
)

var yamlLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

// syntaxProblem records why the YAML library could not read the file.
func (d *decoder) syntaxProblem(src *source, _ []byte, err error) {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	d.fileProblem(src, line, 1, codeSyntax, "%s", strings.TrimPrefix(text, "yaml: "))
}

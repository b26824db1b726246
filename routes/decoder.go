package routes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// maxProblems bounds what is gathered: nobody mends more at once.
const maxProblems = 1_000

// decoder walks the nodes of one Load and gathers what is wrong with them.
type decoder struct {
	opts     Options
	problems []Problem
	seen     map[string]bool // problems told already: a default is read once a route
	prefix   string          // of the path: routes[2] "billing":
	path     []string
	partial  bool // reading defaults:, where nothing is required
	wrong    mistakes
	uses     []use
	file     *kind[file] // made when it is first asked for
}

func (d *decoder) schema() kind[file] {
	if d.file == nil {
		k := fileKind()
		d.file = &k
	}
	return *d.file
}

// enter goes down to a key; the function it returns comes back up.
func (d *decoder) enter(key string) func() {
	d.path = append(d.path, key)
	return func() { d.path = d.path[:len(d.path)-1] }
}

// problem records a mistake at the node, under the path being read.
func (d *decoder) problem(n *node, code, format string, args ...any) {
	d.add(n, Problem{Code: code, Message: fmt.Sprintf(format, args...)})
}

// suggest records a mistake and what to write instead.
func (d *decoder) suggest(n *node, suggestion, code, format string, args ...any) {
	d.add(n, Problem{Code: code, Message: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

// warn records a remark that does not keep the file from running.
func (d *decoder) warn(n *node, code, format string, args ...any) {
	d.add(n, Problem{Code: code, Message: fmt.Sprintf(format, args...), Warning: true})
}

// fileProblem records a mistake at a place of the file, outside any path. Line 0 is
// the file as a whole.
func (d *decoder) fileProblem(src *source, line, column int, code, format string, args ...any) {
	d.add(&node{src: src, line: line, column: column}, Problem{Code: code, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) add(n *node, p Problem) {
	relative := joinPath(d.path)
	if !p.Warning {
		d.wrong = append(d.wrong, relative)
	}
	if len(d.problems) > maxProblems {
		return
	}
	p.Pos = n.pos()
	p.Path = strings.TrimRight(d.prefix+relative, ":. ")
	told := fmt.Sprint(p.Pos, relative, p.Message)
	if d.seen[told] {
		return
	}
	d.seen[told] = true
	if len(d.problems) == maxProblems {
		p = Problem{Pos: p.Pos, Code: codeLimit, Message: fmt.Sprintf("reading ends after %d problems; more may follow", maxProblems)}
	}
	d.problems = append(d.problems, p)
}

// mistakes are the paths, from the top of a part, at which something is wrong. What a
// part says at other paths is as it was written, and can be looked at.
type mistakes []string

// none says whether nothing is wrong at these paths, above or below them.
func (m mistakes) none(paths ...string) bool {
	for _, wrong := range m {
		for _, path := range paths {
			if within(wrong, path) || within(path, wrong) {
				return false
			}
		}
	}
	return true
}

// within says whether the path is outer, or below it.
func within(path, outer string) bool {
	rest, found := strings.CutPrefix(path, outer)
	return found && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// isOdd is a character that would make a path hard to read.
func isOdd(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-[]", r)
}

// joinPath writes keys with dots between them: retry.schedule[1].
func joinPath(path []string) string {
	var b strings.Builder
	for _, key := range path {
		if b.Len() > 0 && !strings.HasPrefix(key, "[") {
			b.WriteByte('.')
		}
		if len(key) > 64 || strings.ContainsFunc(key, isOdd) {
			key = quote(key)
		}
		b.WriteString(key)
	}
	return b.String()
}

// missing records a key of the mapping n that is not there, or null.
func (d *decoder) missing(n *node, k *keyShape) {
	if null := n.get(k.name); null != nil {
		n = null
	}
	d.problem(n, codeMissingKey, "this key is required, for example %s", k.example)
}

// isMapping says whether n is a mapping, and records it when it is not.
func (d *decoder) isMapping(n *node, s *shape) bool {
	if n.kind == mapping {
		return true
	}
	if n.empty() {
		d.noValue(n)
		return false
	}
	want := "a mapping"
	if s.keys != nil {
		want += " with keys such as " + s.keys[0].name
	}
	d.problem(n, codeType, "%s, got %s", want, n.show())
	return false
}

func (d *decoder) noValue(n *node) {
	if last := len(d.path) - 1; last >= 0 && strings.HasPrefix(d.path[last], "[") {
		d.problem(n, codeNoValue, "a list item has a value")
		return
	}
	d.problem(n, codeNoValue, "a key has a value: write one, remove the key, or write null for the default")
}

// unknownKeys records the keys of n that the shape does not have, and where they
// belong.
func (d *decoder) unknownKeys(n *node, s *shape) {
	for _, p := range n.pairs {
		known := slices.ContainsFunc(s.keys, func(k *keyShape) bool { return k.name == p.key.text })
		if !known && !s.ignores(p.key.text) {
			d.unknownKey(p.key, s.names())
		}
	}
}

func (d *decoder) unknownKey(key *node, names []string) {
	suggestion := nearest(key.text, names)
	if suggestion != "" { // the key that was meant is not the default either
		meant := append(slices.Clone(d.path), suggestion)
		defer func() { d.wrong = append(d.wrong, joinPath(meant)) }()
	}
	defer d.enter(key.text)()
	if suggestion == "" {
		if places := d.schema().shape.find(key.text); len(places) > 0 {
			d.problem(key, codeUnknownKey, "unknown key here, it belongs to %s", cmp.Or(strings.Join(places, " or "), "the top of the file"))
			return
		}
	}
	d.suggest(key, suggestion, codeUnknownKey, "unknown key")
}

func (s *shape) names() []string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	return names
}

// find lists the places of a key of that name, from the top of the file.
func (s *shape) find(name string) []string {
	var found []string
	for _, k := range s.keys {
		if k.name == name {
			found = append(found, "")
		}
		if k.name == "defaults" || k.name == "notify" { // they say nothing that a route's own keys do not
			continue
		}
		for _, place := range below(k.shape).find(name) {
			found = append(found, strings.TrimSuffix(k.heading()+"."+place, "."))
		}
	}
	return found
}

// exclusive records when more than one key of a group is set.
func (d *decoder) exclusive(n *node, s *shape) {
	for _, group := range s.exclusive {
		var set []string
		for _, name := range group {
			if !n.get(name).null() {
				set = append(set, name)
			}
		}
		if len(set) > 1 {
			d.problem(n.get(set[1]), codeConflict, "one of %s is set, got %s", strings.Join(group, ", "), strings.Join(set, " and "))
		}
	}
}

package routes

import (
	"fmt"
	"slices"
	"strings"
)

// decoder walks the nodes of one Load and gathers what is wrong with them.
type decoder struct {
	opts     Options
	problems []Problem
	seen     map[string]bool // problems told already: a default is read once a route
	bad      map[*node]bool  // nodes with a mistake, which later checks pass over
	prefix   string          // of the path: routes[2] "billing"
	path     []string
	partial  bool // reading defaults:, where nothing is required
	secrets  []secretUse
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
	p.Pos = n.pos()
	p.Path = d.prefix
	switch {
	case relative == "":
	case d.prefix == "":
		p.Path = relative
	default:
		p.Path += ": " + relative
	}
	told := fmt.Sprint(p.Pos, relative, p.Message)
	if d.seen[told] {
		d.bad[n] = d.bad[n] || !p.Warning
		return
	}
	d.seen[told] = true
	d.bad[n] = d.bad[n] || !p.Warning
	d.problems = append(d.problems, p)
}

// joinPath writes keys with dots between them: retry.schedule[1].
func joinPath(path []string) string {
	var b strings.Builder
	for _, key := range path {
		if b.Len() > 0 && !strings.HasPrefix(key, "[") {
			b.WriteByte('.')
		}
		b.WriteString(key)
	}
	return b.String()
}

func (d *decoder) missing(n *node, k *keyShape) {
	message := "this key is required"
	if k.example != "" {
		message += ", for example " + k.example
	}
	d.problem(n, codeMissingKey, "%s", message)
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
	var names []string
	for _, k := range s.keys {
		names = append(names, k.name)
	}
	d.problem(n, codeType, "a mapping of keys (%s), got %s", strings.Join(names, ", "), n.show())
	return false
}

func (d *decoder) noValue(n *node) {
	d.problem(n, codeNoValue, "a key has a value; write one, remove the key, or write null for the default")
}

// unknownKeys records the keys of n that the shape does not have.
func (d *decoder) unknownKeys(n *node, s *shape) {
	for _, p := range n.pairs {
		if slices.ContainsFunc(s.keys, func(k *keyShape) bool { return k.name == p.key.text }) {
			continue
		}
		leave := d.enter(p.key.text)
		var names []string
		for _, k := range s.keys {
			names = append(names, k.name)
		}
		d.suggest(p.key, nearest(p.key.text, names), codeUnknownKey, "unknown key")
		leave()
	}
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

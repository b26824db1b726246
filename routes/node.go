package routes

import (
	"regexp"
	"strconv"
)

// source is one file as it was read.
type source struct {
	name  string   // as the user wrote it
	dir   string   // absolute; relative paths in the file start here
	order int      // place among the files of one Load
	lines []string // without their line breaks
	// masked holds, by line, the column from which a secret stands there.
	masked map[int]int
}

// sort of a node.
const (
	scalar = iota
	list
	mapping
)

// node is a YAML value with its place. Aliases and merge keys are resolved.
type node struct {
	kind   int
	text   string // of a scalar, as it stands in the file
	tag    string // of a scalar: !!str, !!int, !!float, !!bool, !!null, !!timestamp
	quoted bool   // in quotes
	block  bool   // a block of text, after > or |
	items  []*node
	pairs  []pair // in file order

	src          *source
	line, column int
}

type pair struct {
	key   *node // always a scalar
	value *node
}

func (n *node) pos() Position {
	return Position{File: n.src.name, Line: n.line, Column: n.column}
}

// pair is a key of a mapping, as it stands in the file, with its value; both nil when the
// key is not there.
func (n *node) pair(key string) pair {
	for _, p := range n.all() {
		if p.key.text == key {
			return p
		}
	}
	return pair{}
}

// get returns the value of a key of a mapping, or nil.
func (n *node) get(key string) *node { return n.pair(key).value }

// at follows the keys down from n; nil when one is not there.
func (n *node) at(keys ...string) *node {
	for _, key := range keys {
		n = n.get(key)
	}
	return n
}

// null is an absent value, or one written as null or ~, which takes the default.
func (n *node) null() bool { return n == nil || n.tag == "!!null" && n.text != "" }

// merge lays over on base: mappings merge key by key, everything else replaces, and
// a null in over takes the key away. Of keys that exclude one another, those in over
// push out the others in base. Neither tree is changed.
func merge(s *shape, base, over *node) *node {
	if base == nil || over == nil || base.kind != mapping || over.kind != mapping || s.keys == nil && s.values == nil {
		if over == nil {
			return base
		}
		return over
	}
	out := *over
	out.pairs = nil
	for _, p := range base.pairs {
		if over.get(p.key.text) == nil && !s.excluded(p.key.text, over) {
			out.pairs = append(out.pairs, p)
		}
	}
	for _, p := range over.pairs {
		p.value = merge(s.child(p.key.text), base.get(p.key.text), p.value)
		out.pairs = append(out.pairs, p)
	}
	return &out
}

// empty is a key without any value after its colon, or a list item without one.
func (n *node) empty() bool {
	return n.kind == scalar && n.tag == "!!null" && n.text == "" && !n.quoted
}

// all are the pairs of a mapping; none of nil.
func (n *node) all() []pair {
	if n == nil {
		return nil
	}
	return n.pairs
}

// count is the number of values in the tree.
func (n *node) count() int {
	count := 1
	for _, item := range n.items {
		count += item.count()
	}
	for _, p := range n.pairs {
		count += p.value.count()
	}
	return count
}

// kindName says what n is, in the words of the file's writer.
func (n *node) kindName() string {
	switch {
	case n.kind == list:
		return "a list"
	case n.kind == mapping:
		return "a mapping"
	case n.tag == "!!null":
		return "null"
	default:
		return "a single value"
	}
}

// show is the value for a message: scalars quoted as they stand in the file, so that
// nothing that an environment variable holds is told.
func (n *node) show() string {
	if n.kind == scalar && n.tag != "!!null" {
		return quote(n.text)
	}
	return n.kindName()
}

// quote shortens what is too long to be read in a message, and quotes it.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(mask(s))
}

var (
	integerText = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	numberText  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
)

// defaultNode is a default's text as if it stood in a file.
func defaultNode(text string) *node {
	tag := "!!str"
	switch {
	case text == "true" || text == "false":
		tag = "!!bool"
	case integerText.MatchString(text):
		tag = "!!int"
	case numberText.MatchString(text):
		tag = "!!float"
	}
	return &node{text: text, tag: tag}
}

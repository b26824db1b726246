package routes

import (
	"bytes"
	"errors"
	"io"

	"gopkg.in/yaml.v3"
)

// Limits of one file, so that a bad one costs little to refuse.
const (
	maxFileBytes = 1 << 20
	maxDepth     = 32
	maxNodes     = 10_000
	maxAliases   = 100
	// maxSeparators bounds the library's memory: every value needs a separator, and
	// the nodes of this many take some 30 MiB (measured).
	maxSeparators = 4 * maxNodes
)

const tooManyValues = "a file holds at most %d values, an alias counted as what it stands for"

// parseYAML reads the one document of a file. It returns nil after recording what is
// wrong with it. This file alone knows the YAML library.
func parseYAML(d *decoder, src *source, data []byte) *node {
	if separators(data) > maxSeparators {
		d.fileProblem(src, 0, 0, codeLimit, tooManyValues, maxNodes)
		return nil
	}
	stream := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := stream.Decode(&doc)
	if errors.Is(err, io.EOF) {
		d.fileProblem(src, 0, 0, codeEmpty, "a routes file holds at least one route, got an empty file")
		return nil
	}
	if err != nil {
		d.syntaxProblem(src, data, err)
		return nil
	}
	switch err := stream.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntaxProblem(src, data, err)
		return nil
	default:
		d.fileProblem(src, more.Line, more.Column, codeDocuments,
			"a file holds one YAML document, got a second one; put it into a file of its own in the same folder")
		return nil
	}
	c := converter{d: d, src: src, open: map[*yaml.Node]bool{}}
	root := c.convert(doc.Content[0], 0)
	if c.failed {
		return nil
	}
	return root
}

// yamlFailure is what the library says against the text, or "".
func yamlFailure(data []byte) string {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		return err.Error()
	}
	return ""
}

// converter turns the library's nodes into ours: aliases and merge keys resolved,
// the limits checked.
type converter struct {
	d       *decoder
	src     *source
	nodes   int
	aliases int
	open    map[*yaml.Node]bool // anchors being converted
	failed  bool
}

func (c *converter) fail(y *yaml.Node, code, format string, args ...any) *node {
	if !c.failed || code != codeLimit { // past a limit, one problem is enough
		c.d.fileProblem(c.src, y.Line, y.Column, code, format, args...)
	}
	c.failed = true
	return &node{src: c.src, line: y.Line, column: y.Column, tag: "!!null", text: "null"}
}

func (c *converter) convert(y *yaml.Node, depth int) *node {
	c.nodes++
	switch {
	case depth > maxDepth:
		return c.fail(y, codeLimit, "values nest at most %d deep", maxDepth)
	case c.nodes > maxNodes:
		if c.failed {
			return &node{src: c.src}
		}
		return c.fail(y, codeLimit, tooManyValues, maxNodes)
	case y.Kind == yaml.AliasNode:
		return c.alias(y, depth)
	}
	if y.Style&yaml.TaggedStyle != 0 {
		c.d.fileProblem(c.src, y.Line, y.Column, codeTag, "values carry no tags, got %s", quote(y.Tag))
	}
	n := &node{src: c.src, line: y.Line, column: y.Column}
	switch y.Kind {
	case yaml.SequenceNode:
		n.kind = list
		for _, item := range y.Content {
			n.items = append(n.items, c.convert(item, depth+1))
		}
	case yaml.MappingNode:
		n.kind = mapping
		c.pairs(n, y, depth)
	default:
		n.text, n.tag = y.Value, y.Tag
		n.quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
		n.block = y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	}
	return n
}

func (c *converter) alias(y *yaml.Node, depth int) *node {
	c.aliases++
	switch {
	case c.aliases > maxAliases:
		return c.fail(y, codeLimit, "a file holds at most %d aliases", maxAliases)
	case c.open[y.Alias]:
		return c.fail(y, codeAlias, "an anchor does not hold itself, got *%s inside &%s", y.Value, y.Value)
	}
	c.open[y.Alias] = true
	n := c.convert(y.Alias, depth)
	delete(c.open, y.Alias)
	return n
}

func (c *converter) pairs(n *node, y *yaml.Node, depth int) {
	if y.Anchor != "" {
		c.open[y] = true
		defer delete(c.open, y)
	}
	var merged []*node
	first := map[string]*node{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := c.convert(y.Content[i], depth+1), c.convert(y.Content[i+1], depth+1)
		switch {
		case key.kind != scalar:
			c.fail(y.Content[i], codeType, "a key is a word, got %s", key.kindName())
		case key.tag == "!!merge":
			merged = append(merged, value)
		default:
			if before := first[key.text]; before != nil {
				c.d.fileProblem(c.src, key.line, key.column, codeDuplicateKey, "a key stands once, got %s again; the first is at %s", quote(key.text), before.pos())
				continue
			}
			first[key.text] = key
			n.pairs = append(n.pairs, pair{key, value})
		}
	}
	for _, m := range merged {
		c.merge(n, m)
	}
}

// merge adds the pairs of a merge key's value that n has not itself.
func (c *converter) merge(n, from *node) {
	switch from.kind {
	case list:
		for _, item := range from.items {
			c.merge(n, item)
		}
	case mapping:
		for _, p := range from.pairs {
			if n.get(p.key.text) == nil {
				n.pairs = append(n.pairs, p)
			}
		}
	default:
		c.d.fileProblem(c.src, from.line, from.column, codeType, "<<: takes an alias of a mapping, got %s", from.kindName())
		c.failed = true
	}
}

package routes

import (
	"slices"
	"strconv"
	"strings"
)

// file is what stands at the top of one routes file, before the defaults are laid
// under its routes.
type file struct {
	Version    int
	Streams    []*node
	DeadLetter *node
	Defaults   *node
	Routes     []*node
}

func fileKind() kind[file] {
	defaults := *routeKind().shape
	defaults.keys = slices.DeleteFunc(slices.Clone(defaults.keys), func(k *keyShape) bool { return k.name == "name" })
	defaults.json = func() *jsonSchema { return defaults.objectSchema(false).referring(defaults.names()) }
	route := *routeKind().shape
	route.json = func() *jsonSchema {
		s := route.objectSchema(false).referring(defaults.names())
		s.Required = []string{"name"}
		return s
	}
	stream := *streamKind().shape
	stream.json = func() *jsonSchema { return stream.objectSchema(true) }
	k := object(nil,
		field("version", version(), func(f *file) *int { return &f.Version }, keyDoc{
			doc: "Version of this form of file.", def: "1",
		}),
		field("streams", nodes(&stream), func(f *file) *[]*node { return &f.Streams }, keyDoc{
			doc: "Streams that relay creates, or updates to what stands here. Leave out those that others own.",
		}),
		field("dead_letter", whole(deadLetterKind().shape), func(f *file) **node { return &f.DeadLetter }, keyDoc{
			doc: "Where dead letters go, unless a route says otherwise.",
		}),
		field("defaults", whole(&defaults), func(f *file) **node { return &f.Defaults }, keyDoc{
			doc: "Any keys of a route but its name, for every route that does not set them itself.",
		}),
		field("routes", nodes(&route), func(f *file) *[]*node { return &f.Routes }, keyDoc{
			doc: "The routes, each with the keys below.",
		}),
	)
	k.shape.ignored = "x-"
	k.shape.json = func() *jsonSchema {
		s := k.shape.objectSchema(true)
		// What defaults and routes have in common is written once.
		s.Definitions = defaults.objectSchema(false).Properties
		s.PatternProperties = map[string]*jsonSchema{"^x-": {Description: "Ignored: a place for anchors."}}
		return s
	}
	return k
}

// version is the only one there is.
func version() kind[int] {
	return kind[int]{
		&shape{word: "1", json: is(jsonSchema{Enum: []any{1}})},
		func(d *decoder, n *node) (int, bool) {
			switch {
			case n.quoted && n.text == "1":
				d.problem(n, codeVersion, "the version of this form of file is 1, without quotes, got %s", n.show())
			case n.tag != "!!int" || n.text != "1":
				d.suggest(n, "1", codeVersion, "the version of this form of file is 1, got %s", n.show())
			default:
				return 1, true
			}
			return 0, false
		},
	}
}

// whole is a mapping that is read later.
func whole(s *shape) kind[*node] {
	return kind[*node]{s.whenWritten(), func(d *decoder, n *node) (*node, bool) {
		return n, d.isMapping(n, s)
	}}
}

// nodes is a list of mappings that are read later.
func nodes(s *shape) kind[[]*node] { return listOf(whole(s), 0, maxNodes) }

// part is one stream or route, with its place in its file.
type part struct {
	n      *node
	prefix string // of the path: routes[2] "billing":
}

func parts(key string, nodes []*node) []part {
	var list []part
	for i, n := range nodes {
		if n == nil { // no mapping, and told so
			continue
		}
		p := part{n, key + "[" + strconv.Itoa(i) + "]"}
		if name := n.get("name"); name != nil && name.kind == scalar && !name.null() && !name.empty() {
			p.prefix += " " + quote(name.text)
		}
		p.prefix += ": "
		list = append(list, p)
	}
	return list
}

// together is what the files of one Load say.
type together struct {
	streams, routes      []part
	deadLetter, defaults *node // nil when no file has them
}

// gather reads the tops of the files.
func (d *decoder) gather(roots []*node) together {
	var all together
	kind := d.schema()
	for _, root := range roots {
		if root.kind != mapping {
			d.problem(root, codeType, "a routes file is a mapping with the key routes, got %s", root.kindName())
			continue
		}
		f, _ := kind.read(d, root)
		all.streams = append(all.streams, parts("streams", f.Streams)...)
		all.routes = append(all.routes, parts("routes", f.Routes)...)
		d.once("dead_letter", &all.deadLetter, f.DeadLetter)
		d.once("defaults", &all.defaults, f.Defaults)
	}
	if len(all.routes) == 0 && len(d.problems) == 0 {
		d.path = []string{"routes"}
		d.problem(roots[0], codeMissingKey, "a configuration has at least one route")
		d.path = nil
	}
	return all
}

// once keeps a part that only one of the files may have.
func (d *decoder) once(key string, into **node, n *node) {
	switch {
	case n == nil:
	case *into == nil:
		*into = n
	default:
		defer d.enter(key)()
		d.problem(n, codeDuplicate, "%s stands in one file; it is also at %s", key, (*into).pos())
	}
}

// config reads what the files say together into c.
func (d *decoder) config(c *Config, roots []*node) {
	all := d.gather(roots)
	if d.tooMany(all) {
		return
	}
	check := newChecker(d, c)
	stream := streamKind()
	for _, p := range all.streams {
		d.prefix, d.wrong = p.prefix, nil
		if s, ok := stream.read(d, p.n); ok {
			check.stream(p, s)
			c.streamNodes = append(c.streamNodes, p.n)
		}
	}
	d.prefix = ""
	empty := &node{kind: mapping, src: roots[0].src}
	fileDeadLetter := all.deadLetter
	if fileDeadLetter == nil {
		fileDeadLetter = empty
	}
	leave := d.enter("dead_letter")
	c.DeadLetter, _ = deadLetterKind().read(d, fileDeadLetter)
	leave()

	route := routeKind()
	base := d.base(route, fileDeadLetter, all.defaults)
	for _, p := range all.routes {
		d.prefix, d.wrong = p.prefix, nil
		own := p.n
		p.n = merge(route.shape, base, own)
		p.n.line, p.n.column, p.n.src = own.line, own.column, own.src
		if r, ok := route.read(d, p.n); ok {
			r.Pos = own.pos()
			check.route(p, own, r)
			c.routeNodes = append(c.routeNodes, p.n)
		}
	}
	d.prefix = ""
	check.together()
}

// base is what lies under every route: dead_letter, and on it defaults.
func (d *decoder) base(route kind[Route], deadLetter, defaults *node) *node {
	base := &node{kind: mapping, src: deadLetter.src, pairs: []pair{{&node{text: "dead_letter", src: deadLetter.src}, deadLetter}}}
	if defaults == nil {
		return base
	}
	d.prefix, d.partial = "defaults.", true
	if name := defaults.pair("name").key; name != nil {
		leave := d.enter("name")
		d.problem(name, codeUnknownKey, "every route has a name of its own")
		leave()
	}
	route.read(d, defaults)
	d.prefix, d.partial = "", false
	return merge(route.shape, base, defaults)
}

// tooMany refuses files whose defaults would be read too often: they are laid under
// every route.
func (d *decoder) tooMany(all together) bool {
	if all.defaults == nil {
		return false
	}
	const most = 20 * maxNodes
	if count := len(all.routes) * all.defaults.count(); count > most {
		d.problem(all.defaults, codeLimit, "the values of defaults times the number of routes are at most %d, got %d", most, count)
		return true
	}
	return false
}

// ignores says whether the object lets a key stand that it does not know.
func (s *shape) ignores(key string) bool { return s.ignored != "" && strings.HasPrefix(key, s.ignored) }

package routes

import "slices"

// A kind is one sort of value of type V: how it is read from a node, and the shape
// that the JSON Schema and the reference are made from.
type kind[V any] struct {
	shape *shape
	// read returns the value, and false after recording a problem.
	read func(d *decoder, n *node) (V, bool)
}

// shape describes a kind without its type.
type shape struct {
	word      string             // what the reference calls it: duration, list of strings
	json      func() *jsonSchema // without description and default
	keys      []*keyShape        // of an object, in the order of the reference
	values    *shape             // of a list's items or of a map's values
	exclusive [][]string         // keys of an object of which at most one is set
	ignored   string             // start of the keys of an object that are not looked at
	optional  bool               // an object that is not there when no key of it is written
}

// keyShape describes one key of an object.
type keyShape struct {
	name string
	keyDoc
	shape *shape
}

// keyDoc is what is said about a key in the schema, and in the reference.
type keyDoc struct {
	doc      string // what it does, its unit; one or two sentences
	def      string // the default, as YAML; empty: there is none
	example  string // as YAML
	required bool
}

// child is the shape of the value under a key; nil when there is no such key.
func (s *shape) child(key string) *shape {
	if s == nil || s.values != nil {
		return s.values
	}
	if i := slices.IndexFunc(s.keys, func(k *keyShape) bool { return k.name == key }); i >= 0 {
		return s.keys[i].shape
	}
	return &shape{}
}

// heading is the key as a place: routes[].
func (k *keyShape) heading() string {
	if k.shape.values != nil {
		return k.name + "[]"
	}
	return k.name
}

// below is the shape of a list's items, or the shape itself.
func below(s *shape) *shape {
	if s.values != nil {
		return s.values
	}
	return s
}

// excluded says whether the key gives way because over holds another of its group.
func (s *shape) excluded(key string, over *node) bool {
	for _, group := range s.exclusive {
		if slices.Contains(group, key) && slices.ContainsFunc(group, func(other string) bool { return over.get(other) != nil }) {
			return true
		}
	}
	return false
}

// key is one key of an object that is read into a T.
type key[T any] struct {
	*keyShape
	read     func(d *decoder, n *node, into *T)
	standard func(into *T) // sets the default; nil when there is none
}

// field is the key of that name whose value goes where at points.
func field[T, V any](name string, k kind[V], at func(*T) *V, doc keyDoc) key[T] {
	fieldShape := &keyShape{name: name, keyDoc: doc, shape: k.shape}
	read := func(d *decoder, n *node, into *T) {
		if v, ok := k.read(d, n); ok {
			*at(into) = v
		}
	}
	if doc.def == "" {
		return key[T]{fieldShape, read, nil}
	}
	standard, ok := k.read(newDecoder(Options{}), defaultNode(doc.def))
	if !ok {
		panic("routes: the default of " + name + " is not valid") // a mistake in this package
	}
	return key[T]{fieldShape, read, func(into *T) { *at(into) = standard }}
}

// object is a mapping with these keys and no others.
func object[T any](exclusive [][]string, keys ...key[T]) kind[T] {
	s := &shape{word: "mapping", exclusive: exclusive}
	for _, k := range keys {
		s.keys = append(s.keys, k.keyShape)
	}
	s.json = func() *jsonSchema { return s.objectSchema(false) }
	return kind[T]{s, func(d *decoder, n *node) (T, bool) {
		var into T
		if !d.isMapping(n, s) {
			return into, false
		}
		d.unknownKeys(n, s)
		for _, k := range keys {
			readKey(d, n, k, &into)
		}
		d.exclusive(n, s)
		return into, true
	}}
}

// readKey reads one key of the mapping n, or its default when it is not there.
func readKey[T any](d *decoder, n *node, k key[T], into *T) {
	defer d.enter(k.name)()
	value := n.get(k.name)
	switch {
	case !value.null():
		k.read(d, value, into)
	case k.required && !d.partial:
		d.missing(n, k.keyShape)
	case k.standard != nil:
		k.standard(into)
	case k.shape.keys != nil && !k.shape.optional:
		k.read(d, &node{kind: mapping, src: n.src, line: n.line, column: n.column}, into)
	}
}

// whenWritten is the shape of an object that is left zero when it is not written, without
// the defaults of its keys.
func (s *shape) whenWritten() *shape {
	written := *s
	written.optional = true
	return &written
}

// pointer is a kind for a field that is nil when the value is not written.
func pointer[V any](k kind[V]) kind[*V] {
	return kind[*V]{k.shape.whenWritten(), func(d *decoder, n *node) (*V, bool) {
		v, ok := k.read(d, n)
		return &v, ok
	}}
}

package routes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
)

// jsonSchema is the part of JSON Schema draft-07 that relay's schema needs.
type jsonSchema struct {
	Schema               string                 `json:"$schema,omitempty"`
	Ref                  string                 `json:"$ref,omitempty"`
	Title                string                 `json:"title,omitempty"`
	Description          string                 `json:"description,omitempty"`
	Type                 string                 `json:"type,omitempty"`
	Enum                 []any                  `json:"enum,omitempty"`
	Pattern              string                 `json:"pattern,omitempty"`
	MinLength            int                    `json:"minLength,omitempty"`
	Minimum              *float64               `json:"minimum,omitempty"`
	Maximum              *float64               `json:"maximum,omitempty"`
	Items                *jsonSchema            `json:"items,omitempty"`
	MinItems             int                    `json:"minItems,omitempty"`
	MaxItems             int                    `json:"maxItems,omitempty"`
	Required             []string               `json:"required,omitempty"`
	Properties           map[string]*jsonSchema `json:"properties,omitempty"`
	PatternProperties    map[string]*jsonSchema `json:"patternProperties,omitempty"`
	AdditionalProperties any                    `json:"additionalProperties,omitempty"` // false or nil
	AnyOf                []*jsonSchema          `json:"anyOf,omitempty"`
	AllOf                []*jsonSchema          `json:"allOf,omitempty"`
	Not                  *jsonSchema            `json:"not,omitempty"`
	Default              any                    `json:"default,omitempty"`
	Examples             []any                  `json:"examples,omitempty"`
	Definitions          map[string]*jsonSchema `json:"definitions,omitempty"`
}

// Schema is the JSON Schema (draft-07) of the routes file, for editors: what one file
// alone shows to be wrong. Keys that defaults: in the same or another file may supply
// are not required by it.
func Schema() []byte {
	s := fileKind().shape.json()
	s.Schema = "http://json-schema.org/draft-07/schema#"
	s.Title = "relay routes file"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		panic("routes: the schema is no JSON: " + err.Error()) // a mistake in this package
	}
	return b.Bytes()
}

const expansionForm = `\$\{`

// orExpansion is a pattern that a value with ${NAME} in it passes too, since what it
// will be is not known to an editor.
func orExpansion(form string) string { return form + "|" + expansionForm }

// expansion is a text with ${NAME} in it, in the place of any single value.
func expansion() *jsonSchema { return &jsonSchema{Type: "string", Pattern: expansionForm} }

// is gives a schema that is always the same.
func is(s jsonSchema) func() *jsonSchema { return func() *jsonSchema { return &s } }

// isOrExpansion is for values that are no texts, but may come from one.
func isOrExpansion(s jsonSchema) func() *jsonSchema {
	return func() *jsonSchema { return anyOf(&s, expansion()) }
}

// numberSchema is for numbers of a JSON type, from least to most.
func numberSchema(name string, least, most float64) func() *jsonSchema {
	return isOrExpansion(jsonSchema{Type: name, Minimum: &least, Maximum: &most})
}

func anyOf(schemas ...*jsonSchema) *jsonSchema { return &jsonSchema{AnyOf: schemas} }

// orNull allows null besides, which resets a key to its default.
func orNull(s *jsonSchema) *jsonSchema {
	null := &jsonSchema{Type: "null"}
	if s.AnyOf != nil {
		return anyOf(append(slices.Clip(s.AnyOf), null)...)
	}
	return anyOf(s, null)
}

// objectSchema is the schema of an object with the shape's keys. Its required keys
// are required only when alone is set: elsewhere defaults: may supply them.
func (s *shape) objectSchema(alone bool) *jsonSchema {
	object := &jsonSchema{Type: "object", Properties: map[string]*jsonSchema{}, AdditionalProperties: false}
	for _, k := range s.keys {
		property := orNull(k.shape.json())
		if k.required && alone {
			property = &jsonSchema{AnyOf: []*jsonSchema{k.shape.json()}}
			object.Required = append(object.Required, k.name)
		}
		if len(property.AnyOf) == 1 {
			flat := *property.AnyOf[0]
			property = &flat
		}
		property.Description = k.doc
		property.Default = jsonValue(k.def)
		if example := cmp.Or(k.example, k.def); example != "" {
			property.Examples = []any{jsonValue(example)}
		}
		object.Properties[k.name] = property
	}
	for _, group := range s.exclusive {
		for i, name := range group {
			for _, other := range group[:i] {
				object.AllOf = append(object.AllOf, &jsonSchema{Not: &jsonSchema{Required: []string{other, name}}})
			}
		}
	}
	return object
}

// referring replaces the properties of these names by references to definitions.
func (s *jsonSchema) referring(names []string) *jsonSchema {
	for _, name := range names {
		s.Properties[name] = &jsonSchema{Ref: "#/definitions/" + name}
	}
	return s
}

// jsonValue is a default or an example, written in YAML, as JSON has it.
func jsonValue(text string) any {
	if text == "" {
		return nil
	}
	return plainValue(exampleNode(text))
}

func plainValue(n *node) any {
	switch {
	case n.kind == list:
		values := []any{}
		for _, item := range n.items {
			values = append(values, plainValue(item))
		}
		return values
	case n.kind == mapping:
		values := map[string]any{}
		for _, p := range n.pairs {
			values[p.key.text] = plainValue(p.value)
		}
		return values
	case n.tag == "!!bool":
		return n.text == "true"
	case n.tag == "!!int", n.tag == "!!float":
		return json.Number(n.text)
	default:
		return n.text
	}
}

// exampleNode reads a value that this package itself wrote in YAML.
func exampleNode(text string) *node {
	d := newDecoder(Options{})
	n := parseYAML(d, &source{name: "example", masked: map[int]int{}}, []byte(text))
	if n == nil {
		panic("routes: " + strconv.Quote(text) + " is no YAML") // a mistake in this package
	}
	return n
}

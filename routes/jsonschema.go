package routes

// jsonSchema is the part of JSON Schema draft-07 that relay's schema needs.
type jsonSchema struct {
	Schema               string                 `json:"$schema,omitempty"`
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
	Required             []string               `json:"required,omitempty"`
	Properties           map[string]*jsonSchema `json:"properties,omitempty"`
	PatternProperties    map[string]*jsonSchema `json:"patternProperties,omitempty"`
	AdditionalProperties any                    `json:"additionalProperties,omitempty"` // false or a schema
	AnyOf                []*jsonSchema          `json:"anyOf,omitempty"`
	Not                  *jsonSchema            `json:"not,omitempty"`
	Default              any                    `json:"default,omitempty"`
	Examples             []any                  `json:"examples,omitempty"`
}

const expansionForm = `\$\{`

// orExpansion is a pattern that a value with ${NAME} in it passes too, since what it
// will be is not known to an editor.
func orExpansion(form string) string { return form + "|" + expansionForm }

// expansion is a text with ${NAME} in it, in the place of any single value.
func expansion() *jsonSchema { return &jsonSchema{Type: "string", Pattern: expansionForm} }

func anyOf(schemas ...*jsonSchema) *jsonSchema { return &jsonSchema{AnyOf: schemas} }

func (s *shape) objectSchema() *jsonSchema {
	object := &jsonSchema{Type: "object", Properties: map[string]*jsonSchema{}, AdditionalProperties: false}
	for _, k := range s.keys {
		object.Properties[k.name] = k.shape.json
	}
	return object
}

package routes

import (
	"bytes"
	"fmt"
	"strings"
)

// Reference is every key of the routes file in tables, and every code of a problem:
// the part of docs/routes.md, in Markdown, that is made from the schema.
func Reference() []byte {
	var b bytes.Buffer
	top := fileKind().shape
	section(&b, "The file", top.keys)
	for _, k := range top.keys {
		switch k.name {
		case "streams", "dead_letter":
			section(&b, k.heading(), below(k.shape).keys)
		case "routes":
			routeSections(&b, k)
		}
	}
	b.WriteString("### Codes of problems\n\n| Code | Meaning |\n|---|---|\n")
	for _, c := range codeMeanings() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c[0], cell(c[1]))
	}
	return b.Bytes()
}

// routeSections writes a table of the keys of a route, and one for each mapping in it.
func routeSections(b *bytes.Buffer, routes *keyShape) {
	keys := below(routes.shape).keys
	section(b, routes.heading(), keys)
	for _, k := range keys {
		if k.shape.keys != nil && k.name != "dead_letter" { // which has its table already
			section(b, routes.heading()+"."+k.name, k.shape.keys)
		}
	}
}

// section writes a table of keys; those of mappings inside follow with dots.
func section(b *bytes.Buffer, heading string, keys []*keyShape) {
	fmt.Fprintf(b, "### %s\n\n| Key | Value | Default | What it does |\n|---|---|---|---|\n", heading)
	nested := heading != "The file" && heading != "routes[]"
	rows(b, "", keys, nested)
	b.WriteString("\n")
}

func rows(b *bytes.Buffer, prefix string, keys []*keyShape, nested bool) {
	for _, k := range keys {
		isMapping := k.shape.keys != nil && k.shape.word == "mapping"
		text := k.doc
		if k.example != "" {
			text += " Example: `" + k.example + "`"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, k.name, cell(k.shape.word), cell(k.defaultText()), cell(text))
		if nested && (isMapping || k.name == "egress") {
			rows(b, prefix+k.name+".", k.shape.keys, nested)
		}
	}
}

// defaultText is what the default column says.
func (k *keyShape) defaultText() string {
	switch {
	case k.required:
		return "required"
	case k.def != "":
		return "`" + k.def + "`"
	default:
		return ""
	}
}

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

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

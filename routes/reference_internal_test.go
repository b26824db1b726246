package routes

import (
	"bytes"
	"fmt"
	"strings"
)

// Reference is every key of the routes file in tables, and every code of a problem:
// the part of docs/routes.md, in Markdown, that is made from the schema. It is here, and
// not in the program, since only TestDocumentationIsMadeFromTheSchema asks for it.
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

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// codeMeanings says what each code stands for, in the order of the reference.
func codeMeanings() [][2]string {
	return [][2]string{
		{codeSyntax, "The file is not YAML."},
		{codeEncoding, "The file is not UTF-8, or holds a control character."},
		{codeEmpty, "The file holds nothing but comments."},
		{codeDocuments, "The file holds a second YAML document."},
		{codeLimit, "The file is over a limit: 1 MiB, 32 levels, 10,000 values, 100 aliases."},
		{codeTag, "A value carries a YAML tag."},
		{codeAlias, "An alias has no anchor, or stands inside its own anchor."},
		{codeUnknownKey, "A key is not known, or not known at this place."},
		{codeDuplicateKey, "A key stands twice in one mapping."},
		{codeMissingKey, "A required key is not there."},
		{codeNoValue, "A key, a list item or a list has no value."},
		{codeType, "A value is of the wrong sort: a list for a text, a number for a text."},
		{codeVersion, "The version of the file is not known."},
		{codeWord, "A value is not one of the words allowed."},
		{codeRange, "A value is too small or too large."},
		{codeName, "A name has characters that it may not have."},
		{codeNumber, "A value is no number, or not written in plain decimal digits."},
		{codeDuration, "A value is no duration, or has no unit."},
		{codeSize, "A value is no number of bytes."},
		{codeTime, "A value is no point in time."},
		{codeSubject, "A subject is malformed, or its stream has no such subjects."},
		{codeURL, "A URL is malformed, or leads where no webhook is."},
		{codeHeader, "A header's name or value is malformed."},
		{codeCIDR, "A network is malformed."},
		{codeStatus, "A status pattern is malformed."},
		{codeFilter, "A filter expression does not compile."},
		{codeReserved, "A subject, stream or header belongs to relay, to NATS or to HTTP."},
		{codeDuplicate, "Something that is there once stands twice; both places are named."},
		{codeOverlap, "Two subjects or status ranges match the same; both places are named."},
		{codeConflict, "Two keys contradict each other."},
		{codeExpansion, "A ${…} is malformed."},
		{codeEnvUnset, "A ${NAME} has neither a value nor a default."},
		{codeInlineSecret, "A secret stands in the file."},
		{codeUnreadable, "A secret or a PEM file cannot be read: a warning while validating, an error while running."},
		{codeFileMode, "Warning: a file with a secret can be read by everybody."},
		{codeUnknownRoute, "No route of the file has that name."},
		{codeNearMiss, "Warning: a stream's name is nearly that of one under streams:."},
		{codeHorizon, "Warning: the retries take longer than the message is kept or tried."},
		{CodeLive, "With `relay validate --live`: the servers lack what the file needs, or refuse it."},
	}
}

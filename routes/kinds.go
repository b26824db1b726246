package routes

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scalarText returns the text of a single value, expanded.
func (d *decoder) scalarText(n *node, want string) (text string, expanded, ok bool) {
	switch {
	case n.empty():
		d.noValue(n)
		return "", false, false
	case n.kind != scalar || n.tag == "!!null":
		d.problem(n, codeType, "%s, got %s", want, n.show())
		return "", false, false
	}
	return d.expand(n)
}

// stringText returns a text that YAML does not take for something else.
func (d *decoder) stringText(n *node, want string) (string, bool) {
	text, expanded, ok := d.scalarText(n, want)
	if !ok {
		return "", false
	}
	switch {
	case !expanded && !n.quoted && !n.block && (n.tag != "!!str" && n.tag != "!!timestamp" || yamlBool(n.text)):
		d.suggest(n, "'"+n.text+"'", codeType, "a text stands in quotes where YAML reads a number or a truth value, got %s", n.text)
	case n.block && text == "":
		d.problem(n, codeNoValue, "a value that begins with > or | stands in quotes, got an empty block of text")
	case text == "":
		d.problem(n, codeNoValue, "%s, got an empty text", want)
	default:
		return text, true
	}
	return "", false
}

// yamlBool says whether older YAML readers take the word for a truth value.
func yamlBool(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "no", "on", "off":
		return true
	}
	return false
}

// str is any text that is not empty.
func str(want string) kind[string] {
	return kind[string]{
		&shape{word: "text", json: is(jsonSchema{Type: "string", MinLength: 1})},
		func(d *decoder, n *node) (string, bool) { return d.stringText(n, want) },
	}
}

// pattern is a text of a form.
func pattern(code, want string, form *regexp.Regexp) kind[string] {
	k := str(want)
	k.shape.json = is(jsonSchema{Type: "string", Pattern: orExpansion(form.String())})
	return checked(k, func(d *decoder, n *node, s string) bool {
		if !form.MatchString(s) {
			d.problem(n, code, "%s, got %s", want, n.show())
			return false
		}
		return true
	})
}

// checked is k with a further check, which records what is wrong.
func checked[V any](k kind[V], check func(d *decoder, n *node, v V) bool) kind[V] {
	return kind[V]{k.shape, func(d *decoder, n *node) (V, bool) {
		v, ok := k.read(d, n)
		return v, ok && check(d, n, v)
	}}
}

// single is a kind of single values. parse makes one of the text, or records what is
// wrong with it; expanded says that part of the text comes from the environment.
func single[V any](s shape, want string, parse func(d *decoder, n *node, text string, expanded bool) (V, bool)) kind[V] {
	return kind[V]{&s, func(d *decoder, n *node) (v V, _ bool) {
		text, expanded, ok := d.scalarText(n, want)
		if !ok {
			return v, false
		}
		return parse(d, n, text, expanded)
	}}
}

// word is one of these words.
func word[V ~string](words ...V) kind[V] {
	names := make([]string, len(words))
	enum := make([]any, len(words))
	for i, w := range words {
		names[i], enum[i] = string(w), string(w)
	}
	want := "one of " + strings.Join(names, ", ")
	s := shape{word: want, json: isOrExpansion(jsonSchema{Type: "string", Enum: enum})}
	return single(s, want, func(d *decoder, n *node, text string, _ bool) (V, bool) {
		if !slices.Contains(names, text) {
			d.suggest(n, nearest(text, names), codeWord, "%s, got %s", want, n.show())
			return "", false
		}
		return V(text), true
	})
}

// boolean is true or false.
func boolean() kind[bool] {
	const want = "true or false"
	s := shape{word: want, json: isOrExpansion(jsonSchema{Type: "boolean"})}
	return single(s, want, func(d *decoder, n *node, text string, expanded bool) (bool, bool) {
		if expanded && (text == "true" || text == "false") || n.tag == "!!bool" {
			return strings.EqualFold(text, "true"), true
		}
		suggestion, quotes := "", ""
		if n.quoted {
			quotes = ", without quotes"
		}
		switch strings.ToLower(text) {
		case "yes", "on", "y", "1", "true":
			suggestion = "true"
		case "no", "off", "n", "0", "false":
			suggestion = "false"
		}
		d.suggest(n, suggestion, codeType, "%s%s, got %s", want, quotes, n.show())
		return false, false
	})
}

// integer is a whole number from least to most.
func integer[V int | uint64](least, most int64) kind[V] {
	span := fmt.Sprintf("from %d to %d", least, most)
	s := shape{word: "integer " + span, json: numberSchema("integer", float64(least), float64(most))}
	return numeric(s, "a whole number "+span, integerText, func(text string) (V, bool) {
		v, err := strconv.ParseInt(text, 10, 64)
		return V(v), err == nil && v >= least && v <= most
	})
}

// number is a number from least to most.
func number(least, most float64) kind[float64] {
	span := fmt.Sprintf("number from %s to %s", strconv.FormatFloat(least, 'f', -1, 64), strconv.FormatFloat(most, 'f', -1, 64))
	s := shape{word: span, json: numberSchema("number", least, most)}
	return numeric(s, "a "+span, numberText, func(text string) (float64, bool) {
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil && v >= least && v <= most
	})
}

// numeric is a kind of numbers of a form. parse is false for one that is out of range.
func numeric[V any](s shape, want string, form *regexp.Regexp, parse func(text string) (V, bool)) kind[V] {
	return single(s, want, func(d *decoder, n *node, text string, expanded bool) (v V, ok bool) {
		switch {
		case !form.MatchString(text):
			d.suggest(n, plainInteger(text), codeNumber, "%s, got %s", want, n.show())
		case n.quoted && !expanded:
			d.problem(n, codeNumber, "%s, without quotes, got %s", want, n.show())
		default:
			if v, ok = parse(text); !ok {
				d.problem(n, codeRange, "%s, got %s", want, n.show())
			}
		}
		return v, ok
	})
}

// plainInteger is the number that was likely meant: 010 is 10, 1_000 is 1000.
func plainInteger(text string) string {
	text = strings.TrimLeft(strings.ReplaceAll(text, "_", ""), "0")
	if integerText.MatchString(text) {
		return text
	}
	return ""
}

const day = 24 * time.Hour

// durationForm is Go's durations with a day before them; the schema has it too.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))+$`)

// duration is a time span from least to most. unit is proposed for a bare number.
func duration(least, most time.Duration, unit string) kind[time.Duration] {
	span := fmt.Sprintf("duration from %s to %s", formatDuration(least), formatDuration(most))
	const want = "a duration such as 500ms, 30s, 5m, 12h or 7d"
	s := shape{word: span, json: is(jsonSchema{AnyOf: []*jsonSchema{{Type: "string", Pattern: orExpansion(durationForm.String())}, {Enum: []any{0}}}})}
	return single(s, want, func(d *decoder, n *node, text string, expanded bool) (time.Duration, bool) {
		if text != "0" && (!expanded && n.tag != "!!str" || !durationForm.MatchString(text)) {
			d.suggest(n, durationFix(text, unit), codeDuration, "%s, got %s", want, n.show())
			return 0, false
		}
		v, ok := parseDuration(text)
		if !ok || v < least || v > most {
			d.problem(n, codeRange, "a %s, got %s", span, n.show())
			return 0, false
		}
		return v, true
	})
}

// parseDuration is time.ParseDuration with days in front; false on overflow.
func parseDuration(text string) (time.Duration, bool) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		v, err := time.ParseDuration(text)
		return v, err == nil
	}
	count, err := strconv.ParseFloat(days, 64)
	if err != nil || count > math.MaxInt64/float64(day)/2 {
		return 0, false
	}
	total := time.Duration(count * float64(day))
	if rest == "" {
		return total, true
	}
	v, err := time.ParseDuration(rest)
	return total + v, err == nil && total+v >= total
}

var durationTry = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([a-zA-Z]*)$`)

// durationFix is the duration that was likely meant.
func durationFix(text, unit string) string {
	m := durationTry.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	count, name := m[1], strings.ToLower(m[2])
	switch {
	case count == "0" || name == "":
		return count + unit
	case name == "w" || strings.HasPrefix(name, "week"):
		if weeks, err := strconv.Atoi(count); err == nil {
			return strconv.Itoa(7*weeks) + "d"
		}
	case strings.HasPrefix(name, "mil") || name == "ms":
		return count + "ms"
	case strings.ContainsAny(name[:1], "smhd"):
		return count + name[:1]
	}
	return ""
}

// formatDuration writes a duration as the routes file has it: 1h30m, 7d, 250ms.
func formatDuration(v time.Duration) string {
	if v > 0 && v%day == 0 {
		return strconv.Itoa(int(v/day)) + "d"
	}
	text := v.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// timestamp is a point in time as RFC 3339 has it.
func timestamp() kind[time.Time] {
	const want = "a time such as 2026-01-31T08:00:00Z (RFC 3339)"
	const form = `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})$`
	s := shape{word: "time", json: is(jsonSchema{Type: "string", Pattern: orExpansion(form)})}
	return single(s, want, func(d *decoder, n *node, text string, _ bool) (time.Time, bool) {
		v, err := time.Parse(time.RFC3339Nano, text)
		if err == nil {
			return v, true
		}
		suggestion := ""
		if _, err := time.Parse(time.DateOnly, text); err == nil {
			suggestion = text + "T00:00:00Z"
		}
		d.suggest(n, suggestion, codeTime, "%s, got %s", want, n.show())
		return time.Time{}, false
	})
}

// plural is the word for several values: texts, durations from 1s to 1h.
func plural(word string) string {
	noun, rest, found := strings.Cut(word, " ")
	if found {
		rest = " " + rest
	}
	return noun + "s" + rest
}

// listOf is a list of least to most values. An item with a mistake leaves its place
// empty, so that the others can still be looked at.
func listOf[V any](item kind[V], least, most int) kind[[]V] {
	return kind[[]V]{
		&shape{word: "list of " + plural(item.shape.word), values: item.shape, json: func() *jsonSchema {
			return &jsonSchema{Type: "array", Items: item.shape.json(), MinItems: least, MaxItems: most}
		}},
		func(d *decoder, n *node) ([]V, bool) {
			switch {
			case n.empty():
				d.noValue(n)
				return nil, false
			case n.kind != list:
				d.problem(n, codeType, "a list, got %s", n.show())
				return nil, false
			case len(n.items) < least:
				d.problem(n, codeNoValue, "a list of at least one value, got an empty one")
				return nil, false
			case len(n.items) > most:
				d.problem(n, codeRange, "a list of at most %d values, got %d", most, len(n.items))
				return nil, false
			}
			values := make([]V, len(n.items))
			for i, element := range n.items {
				leave := d.enter("[" + strconv.Itoa(i) + "]")
				if v, ok := item.read(d, element); ok {
					values[i] = v
				}
				leave()
			}
			return values, true
		},
	}
}

package routes

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteResolved writes the streams and routes with all their settings, in the form of
// a routes file: what is written, what defaults: lays under it, and the defaults of
// relay. With origin each line ends with where its value comes from: FILE:LINE, or
// default. What ${NAME} stands for is not shown, nor are secrets: they are references.
func (c *Config) WriteResolved(w io.Writer, origin bool) error {
	var v resolved
	if len(c.Streams) > 0 {
		v.add("streams:", "")
		for _, n := range c.streamNodes {
			v.item(streamKind().shape, n, nil)
		}
	}
	v.add("routes:", "")
	for i, n := range c.routeNodes {
		v.item(routeKind().shape, n, computed(c.Routes[i]))
	}
	for _, l := range v.lines {
		text := mask(l.text)
		if origin && l.origin != "" {
			text = fmt.Sprintf("%-56s # %s", text, l.origin)
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return fmt.Errorf("write the routes: %w", err)
		}
	}
	return nil
}

// computed are the defaults that depend on other keys, by path.
func computed(r Route) map[string]string {
	return map[string]string{
		"consumer.durable": r.Consumer.Durable,
		"concurrency":      strconv.Itoa(r.Concurrency),
		"rate_limit.burst": strconv.Itoa(r.RateLimit.Burst),
	}
}

// resolved gathers the lines of WriteResolved.
type resolved struct {
	lines []struct{ text, origin string }
}

func (v *resolved) add(text, origin string) {
	v.lines = append(v.lines, struct{ text, origin string }{text, origin})
}

// item writes an object as an item of a list.
func (v *resolved) item(s *shape, n *node, computed map[string]string) {
	first := len(v.lines)
	v.object(s, n, "    ", "", computed)
	if len(v.lines) > first {
		v.lines[first].text = "  - " + strings.TrimPrefix(v.lines[first].text, "    ")
	}
}

// object writes the keys that have a value, in the order of the reference.
func (v *resolved) object(s *shape, n *node, indent, path string, computed map[string]string) {
	for _, k := range s.keys {
		value, key := n.get(k.name), indent+k.name+":"
		def := k.def
		if c, ok := computed[path+k.name]; ok {
			def = c
		}
		switch {
		case !value.null() && value.kind == mapping:
			v.mapping(k, value, indent, path, computed)
		case !value.null():
			v.add(key+" "+flow(value, false), originOf(value))
		case s.excluded(k.name, n): // schedule: stands in the place of backoff:
		case def != "":
			v.add(key+" "+def, "default")
		case k.shape.keys != nil && !k.shape.optional:
			v.mapping(k, &node{kind: mapping}, indent, path, computed)
		}
	}
}

// mapping writes a key and what is below it, unless that is nothing.
func (v *resolved) mapping(k *keyShape, n *node, indent, path string, computed map[string]string) {
	before := len(v.lines)
	v.add(indent+k.name+":", "")
	if k.shape.keys != nil {
		v.object(k.shape, n, indent+"  ", path+k.name+".", computed)
	} else {
		for _, p := range n.pairs {
			v.add(indent+"  "+flow(p.key, false)+": "+flow(p.value, false), originOf(p.value))
		}
	}
	if len(v.lines) == before+1 {
		v.lines = v.lines[:before]
	}
}

func originOf(n *node) string {
	if n.src == nil {
		return "default"
	}
	return n.src.name + ":" + strconv.Itoa(n.line)
}

// flow writes a value in one line. Inside brackets some characters need quotes.
func flow(n *node, inside bool) string {
	switch n.kind {
	case list:
		items := make([]string, len(n.items))
		for i, item := range n.items {
			items[i] = flow(item, true)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case mapping:
		pairs := make([]string, len(n.pairs))
		for i, p := range n.pairs {
			pairs[i] = flow(p.key, true) + ": " + flow(p.value, true)
		}
		return "{ " + strings.Join(pairs, ", ") + " }"
	}
	switch {
	case strings.Contains(n.text, "\n"):
		return strconv.Quote(n.text)
	case n.quoted || n.block || inside && strings.ContainsAny(n.text, ",[]{}"):
		return "'" + strings.ReplaceAll(n.text, "'", "''") + "'"
	}
	return n.text
}

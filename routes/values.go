package routes

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	jsNameForm  = regexp.MustCompile(`^[^\s.*>/\\]+$`)
	subjectForm = regexp.MustCompile(`^[^\s.]+(\.[^\s.]+)*$`)
)

// jsName is the name of a stream, consumer or group, in JetStream's rules.
func jsName(what string) kind[string] {
	k := pattern(codeName, "the name of a "+what+" without spaces and . * > / \\", jsNameForm)
	return checked(k, func(d *decoder, n *node, s string) bool {
		const most = 255 // of nats-server
		if len(s) > most {
			d.problem(n, codeName, "a name of at most %d bytes, got %d", most, len(s))
		}
		return len(s) <= most
	})
}

// subjectFilter is a subject that may hold wildcards.
func subjectFilter() kind[string] {
	return subjectText("a subject such as orders.created or orders.>", true)
}

// literalSubject is a subject without wildcards.
func literalSubject() kind[string] {
	return subjectText("a subject without wildcards such as deliver.orders", false)
}

// deadLetterPrefix is the first part of a subject.
func deadLetterPrefix() kind[string] {
	k := subjectText("the first part of a subject such as dlq", false)
	return checked(k, func(d *decoder, n *node, s string) bool {
		owner := reservedFor(s)
		if owner != "" {
			d.problem(n, codeReserved, "subjects of %s hold no dead letters, got %s", owner, n.show())
		}
		return owner == ""
	})
}

// reservedFor names who uses the subjects that begin like this one; "" is nobody.
func reservedFor(subject string) string {
	first, _, _ := strings.Cut(subject, ".")
	switch {
	case strings.HasPrefix(first, "$"), strings.HasPrefix(first, "_INBOX"):
		return "the NATS server"
	case first == "relay":
		return "relay itself"
	}
	return ""
}

func subjectText(want string, wildcards bool) kind[string] {
	k := pattern(codeSubject, want, subjectForm)
	return checked(k, func(d *decoder, n *node, s string) bool {
		rule := subjectRule(s, wildcards)
		if rule != "" {
			d.problem(n, codeSubject, "%s, got %s", rule, n.show())
		}
		return rule == ""
	})
}

// subjectRule is the rule that the subject breaks, or "".
func subjectRule(s string, wildcards bool) string {
	tokens := strings.Split(s, ".")
	for i, token := range tokens {
		switch {
		case !strings.ContainsAny(token, "*>"):
		case !wildcards:
			return "the subject holds no wildcard"
		case token == ">" && i < len(tokens)-1:
			return "> stands at the end of a subject only"
		case len(token) > 1:
			return "a wildcard is a token of its own, between dots"
		}
	}
	return ""
}

// filterExpression is handed to Options.CheckFilter.
func filterExpression() kind[string] {
	return checked(str("an expression"), func(d *decoder, n *node, s string) bool {
		if d.opts.CheckFilter == nil {
			return true
		}
		err := d.opts.CheckFilter(s)
		if err != nil {
			d.problem(n, codeFilter, "%v", err)
		}
		return err == nil
	})
}

// mapOf is a mapping with keys of a form.
func mapOf[V, M any](value kind[V], keyForm *regexp.Regexp, read func(d *decoder, n *node) (M, bool)) kind[M] {
	s := &shape{word: "mapping", values: value.shape, json: func() *jsonSchema {
		return &jsonSchema{
			Type:                 "object",
			PatternProperties:    map[string]*jsonSchema{keyForm.String(): orNull(value.shape.json())},
			AdditionalProperties: false,
		}
	}}
	return kind[M]{s, func(d *decoder, n *node) (M, bool) {
		if !d.isMapping(n, s) {
			var zero M
			return zero, false
		}
		return read(d, n)
	}}
}

// pathKind is a path, made absolute from the folder of its file.
func pathKind() kind[string] {
	k := str("a path")
	return kind[string]{k.shape, func(d *decoder, n *node) (string, bool) {
		path, ok := k.read(d, n)
		if ok && !filepath.IsAbs(path) {
			path = filepath.Join(n.src.dir, path)
		}
		return path, ok
	}}
}

// egressKind is a mode, or a mapping of mode and allow.
func egressKind() kind[Egress] {
	mode := word(EgressInternal, EgressStrict)
	full := object(nil,
		field("mode", mode, func(e *Egress) *EgressMode { return &e.Mode }, keyDoc{
			doc: "internal or strict.", example: "strict", required: true,
		}),
		field("allow", listOf(cidr(), 0, 1000), func(e *Egress) *[]string { return &e.Allow }, keyDoc{
			doc: "Networks allowed besides those of the mode.", example: "[10.1.0.0/16]",
		}),
	)
	s := *full.shape
	s.word = "one of internal, strict; or a mapping of both keys below"
	s.json = func() *jsonSchema { return anyOf(append(mode.shape.json().AnyOf, full.shape.json())...) }
	return kind[Egress]{&s, func(d *decoder, n *node) (Egress, bool) {
		if n.kind == mapping {
			return full.read(d, n)
		}
		m, ok := mode.read(d, n)
		return Egress{Mode: m}, ok
	}}
}

// cidr is a network such as 10.1.0.0/16.
func cidr() kind[string] {
	return checked(str("a network such as 10.1.0.0/16"), func(d *decoder, n *node, s string) bool {
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			suggestion := ""
			if addr, err := netip.ParseAddr(s); err == nil {
				suggestion = netip.PrefixFrom(addr, addr.BitLen()).String()
			}
			d.suggest(n, suggestion, codeCIDR, "a network such as 10.1.0.0/16, got %s", n.show())
		case prefix != prefix.Masked():
			d.suggest(n, prefix.Masked().String(), codeCIDR, "a network has no bits beyond its length, got %s", n.show())
		default:
			return true
		}
		return false
	})
}

var statusForm = regexp.MustCompile(`^([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?$|^([1-5])xx$`)

// statusKind is a mapping of status patterns to verdicts.
func statusKind() kind[StatusRules] {
	verdict := word(Ack, Nak, Term, Drop)
	return mapOf(verdict, statusForm, func(d *decoder, n *node) (StatusRules, bool) {
		var rules StatusRules
		for _, p := range n.pairs {
			leave := d.enter(p.key.text)
			if rule, ok := d.statusRule(p.key); ok && !p.value.null() {
				if v, ok := verdict.read(d, p.value); ok {
					rule.Verdict = v
					rules = append(rules, rule)
				}
			}
			leave()
		}
		return rules, true
	})
}

func (d *decoder) statusRule(key *node) (StatusRule, bool) {
	m := statusForm.FindStringSubmatch(key.text)
	if m == nil {
		suggestion := ""
		if lower := strings.ToLower(key.text); statusForm.MatchString(lower) {
			suggestion = lower
		}
		d.suggest(key, suggestion, codeStatus, "a status such as 404, a range such as 200-204 or a class such as 5xx, got %s", key.show())
		return StatusRule{}, false
	}
	rule := StatusRule{Pattern: key.text}
	switch {
	case m[3] != "":
		class, _ := strconv.Atoi(m[3])
		rule.From, rule.To = class*100, class*100+99
	default:
		rule.From, _ = strconv.Atoi(m[1])
		rule.To = rule.From
		if m[2] != "" {
			rule.To, _ = strconv.Atoi(m[2])
		}
		if rule.From > rule.To {
			d.suggest(key, m[2]+"-"+m[1], codeStatus, "a range runs from the lower status to the higher, got %s", key.show())
			return StatusRule{}, false
		}
	}
	return rule, true
}

var (
	sizeForm = regexp.MustCompile(`^([1-9][0-9]*)([KMGT])iB$`)
	sizeTry  = regexp.MustCompile(`^([1-9][0-9]*) *([kKmMgGtT])(i?[bB])?$`)
)

// size is a number of bytes.
func size() kind[int64] {
	const want = "a number of bytes such as 1048576, 512MiB or 10GiB"
	least := 0.0
	s := shape{word: "size", json: is(jsonSchema{AnyOf: []*jsonSchema{{Type: "integer", Minimum: &least}, {Type: "string", Pattern: orExpansion(sizeForm.String())}}})}
	return single(s, want, func(d *decoder, n *node, text string, _ bool) (int64, bool) {
		digits, shift := text, 0
		if m := sizeForm.FindStringSubmatch(text); m != nil {
			digits, shift = m[1], 10*(1+strings.Index("KMGT", m[2]))
		}
		v, err := strconv.ParseInt(digits, 10, 64)
		switch {
		case !integerText.MatchString(digits):
			d.suggest(n, sizeFix(text), codeSize, "%s, got %s", want, n.show())
		case err != nil || v < 0 || v<<shift>>shift != v:
			d.problem(n, codeRange, "%s, got %s", want, n.show())
		default:
			return v << shift, true
		}
		return 0, false
	})
}

// sizeFix turns 10GB, 10G and 10gb into 10GiB.
func sizeFix(text string) string {
	m := sizeTry.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + strings.ToUpper(m[2]) + "iB"
}

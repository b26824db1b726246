package routes

import (
	"regexp"
	"strings"
)

var reference = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// expand replaces ${NAME} and ${NAME:-default} in a scalar, and $${ by ${. It says
// whether the value holds anything from the environment, and false after recording a
// problem.
func (d *decoder) expand(n *node) (value string, expanded, ok bool) {
	rest := n.text
	if !strings.Contains(rest, "${") {
		return rest, false, true
	}
	var b strings.Builder
	ok = true
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String(), expanded, ok
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		rest = rest[i:]
		m := reference.FindStringSubmatch(rest)
		if m == nil {
			d.problem(n, codeExpansion, "an environment variable is written ${NAME} or ${NAME:-default}, and $${ stands for itself, got %s", n.show())
			return "", true, false
		}
		rest = rest[len(m[0]):]
		expanded = true
		value, set := d.lookup(m[1])
		switch {
		case value != "":
			b.WriteString(value)
		case m[2] != "":
			b.WriteString(m[3])
		case !set:
			d.problem(n, codeEnvUnset, "environment variable %s is not set; set it, or write ${%s:-default}", m[1], m[1])
			ok = false
		}
	}
}

package routes

import "regexp"

var reference = regexp.MustCompile(`\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?`)

// expand replaces ${NAME} and ${NAME:-default} in a scalar, and $${ by ${. It says
// whether the value holds anything from the environment, and false after recording a
// problem.
func (d *decoder) expand(n *node) (value string, expanded, ok bool) {
	ok = true
	malformed := false
	value = reference.ReplaceAllStringFunc(n.text, func(text string) string {
		if text == "$${" {
			return "${"
		}
		expanded = true
		m := reference.FindStringSubmatch(text)
		name, fallback := m[1], m[2] != ""
		value, set := d.opts.LookupEnv(name)
		switch {
		case name == "":
			malformed = true
		case value == "" && fallback:
			return m[3]
		case !set && !fallback:
			d.problem(n, codeEnvUnset, "environment variable %s is not set; set it, or write ${%s:-default}", name, name)
			ok = false
		}
		return value
	})
	if malformed {
		d.problem(n, codeExpansion, "an environment variable is written ${NAME} or ${NAME:-default}, and $${ stands for itself, got %s", n.show())
		return "", true, false
	}
	return value, expanded, ok
}

package routes

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Value reads the secret: the environment variable by lookup (nil: os.LookupEnv), or
// the file, without its trailing newline. A secret that is missing or empty is an
// error that names the variable or the file. It reads anew every time, so that a
// rotated file is seen.
func (s Secret) Value(lookup func(string) (string, bool)) (string, error) {
	if s.File != "" {
		return s.fromFile()
	}
	if lookup == nil {
		lookup = os.LookupEnv
	}
	value, ok := lookup(s.Env)
	switch {
	case !ok:
		return "", fmt.Errorf("environment variable %s is not set", s.Env)
	case value == "":
		return "", fmt.Errorf("environment variable %s is empty", s.Env)
	}
	return value, nil
}

func (s Secret) fromFile() (string, error) {
	data, err := os.ReadFile(s.File)
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("secret file %s is empty", s.File)
	}
	return value, nil
}

// String is the reference, "env:NAME" or "file:PATH", never the value.
func (s Secret) String() string {
	if s.File != "" {
		return "file:" + s.File
	}
	return "env:" + s.Env
}

// use is a secret, or a file of tls:, and where the routes file refers to it.
type use struct {
	at     *node
	prefix string
	path   []string
	read   func(lookup func(string) (string, bool)) error
	secret string // path of a file that holds a secret, or ""
}

func (d *decoder) use(n *node, secretFile string, read func(lookup func(string) (string, bool)) error) {
	if !d.partial {
		d.uses = append(d.uses, use{n, d.prefix, slices.Clone(d.path), read, secretFile})
	}
}

// secretKind is {env: NAME} or {file: PATH}.
func secretKind() kind[Secret] {
	k := object([][]string{{"env", "file"}},
		field("env", envName(), func(s *Secret) *string { return &s.Env }, keyDoc{
			doc: "Environment variable that holds the value.", example: "BILLING_TOKEN",
		}),
		field("file", pathKind(), func(s *Secret) *string { return &s.File }, keyDoc{
			doc: "File that holds the value; a newline at its end is left out.", example: "/run/secrets/billing",
		}),
	)
	k.shape.word = "secret"
	return kind[Secret]{k.shape, func(d *decoder, n *node) (Secret, bool) {
		if n.kind == scalar && !n.empty() && !n.null() {
			n.src.masked[n.line] = n.column
			d.problem(n, codeInlineSecret, "a secret stays out of the file: write { env: NAME } or { file: PATH }")
			return Secret{}, false
		}
		before := len(d.problems)
		s, ok := k.read(d, n)
		switch {
		case !ok, len(d.problems) > before:
			return s, ok
		case s == Secret{}:
			d.problem(n, codeMissingKey, "a secret has the key env or file")
			return s, false
		}
		d.use(n, s.File, func(lookup func(string) (string, bool)) error {
			_, err := s.Value(lookup)
			return err
		})
		return s, true
	}}
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// envName is the name of an environment variable. What is no name may be the secret
// itself and is not shown.
func envName() kind[string] {
	k := str("the name of an environment variable")
	k.shape.json = is(jsonSchema{Type: "string", Pattern: orExpansion(envForm.String())})
	return checked(k, func(d *decoder, n *node, s string) bool {
		if !envForm.MatchString(s) {
			n.src.masked[n.line] = n.column
			d.problem(n, codeName, "the name of an environment variable is made of letters, digits and _")
			return false
		}
		return true
	})
}

// pemPath is the path of a PEM file; of a key when secret is set.
func pemPath(secret bool) kind[string] {
	return checked(pathKind(), func(d *decoder, n *node, path string) bool {
		secretFile := ""
		if secret {
			secretFile = path
		}
		d.use(n, secretFile, func(func(string) (string, bool)) error {
			_, err := os.ReadFile(path)
			return err
		})
		return true
	})
}

// checkUses looks whether secrets and files can be read, and who else can read them.
func (d *decoder) checkUses() {
	defer func() { d.prefix, d.path = "", nil }()
	for _, u := range d.uses {
		d.prefix, d.path = u.prefix, u.path
		if err := u.read(d.opts.LookupEnv); err != nil {
			d.add(u.at, Problem{Code: codeUnreadable, Message: err.Error(), Warning: !d.opts.Secrets})
			continue
		}
		if u.secret == "" {
			continue
		}
		if info, err := os.Stat(u.secret); err == nil && info.Mode().Perm()&0o004 != 0 {
			d.warn(u.at, codeFileMode, "a file with a secret is not for everybody to read, got mode %04o on %s", info.Mode().Perm(), u.secret)
		}
	}
}

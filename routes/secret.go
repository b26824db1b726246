package routes

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
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
		return "", fmt.Errorf("read secret: %w", err)
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

// LogValue is the reference, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON writes the reference in the form of the routes file: {"env":"NAME"}
// or {"file":"PATH"}.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s.File != "" {
		return json.Marshal(map[string]string{"file": s.File})
	}
	return json.Marshal(map[string]string{"env": s.Env})
}

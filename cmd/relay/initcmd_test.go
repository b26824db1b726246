package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relay/routes"
)

// What init writes is valid to the last warning, and is never written over anything.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "my.yaml")
	if code, stdout, stderr := command(t, "", "init", file); code != exitDone || !strings.Contains(stdout, file) {
		t.Fatalf("init: exit %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, stderr := command(t, "", "validate", "--strict", file); code != exitDone {
		t.Errorf("validate: exit %d, %s%s", code, stdout, stderr)
	}
	schema, err := os.ReadFile(filepath.Join(dir, "routes.schema.json"))
	if err != nil || !bytes.Equal(schema, routes.Schema()) {
		t.Errorf("routes.schema.json: %v, %d bytes", err, len(schema))
	}
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, "", "init", file)
	if code != exitWrong || !strings.Contains(stderr, "is there already") {
		t.Errorf("init over a file: exit %d, %s", code, stderr)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "mine" {
		t.Errorf("the file holds %q, %v", kept, err)
	}
}

func TestSchema(t *testing.T) {
	code, stdout, _ := command(t, "", "schema")
	if code != exitDone || stdout != string(routes.Schema()) {
		t.Errorf("exit %d, %d bytes", code, len(stdout))
	}
}

// A warning is no mistake, unless --strict is given.
func TestValidateStrict(t *testing.T) {
	file := writeRoutes(t, strings.Replace(ordersRoute, "timeout: 10s", "timeout: 10s, signing: { secrets: [{ env: RELAY_TEST_NOT_SET }] }", 1), "http://127.0.0.1:1")
	for flag, want := range map[string]int{"--strict=false": exitDone, "--strict": exitWrong} {
		if code, stdout, _ := command(t, "", "validate", flag, file); code != want || !strings.Contains(stdout, "warning:") {
			t.Errorf("%s: exit %d, want %d\n%s", flag, code, want, stdout)
		}
	}
}

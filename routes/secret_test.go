package routes_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"relay/routes"
)

func TestSecretValue(t *testing.T) {
	dir := write(t, map[string]string{"plain": "hunter2", "newline": "hunter2\n", "crlf": "hunter2\r\n", "two": "hunter2\n\n", "empty": "\n"})
	lookup := testOptions().LookupEnv
	for _, c := range []struct {
		name    string
		secret  routes.Secret
		want    string
		wantErr string
	}{
		{"environment", routes.Secret{Env: "TOKEN"}, "t0ken", ""},
		{"file", routes.Secret{File: dir + "/plain"}, "hunter2", ""},
		{"file with a newline", routes.Secret{File: dir + "/newline"}, "hunter2", ""},
		{"file with a Windows newline", routes.Secret{File: dir + "/crlf"}, "hunter2", ""},
		{"one newline is left out, not two", routes.Secret{File: dir + "/two"}, "hunter2\n", ""},
		{"unset", routes.Secret{Env: "NOT_SET"}, "", "environment variable NOT_SET is not set"},
		{"empty", routes.Secret{Env: "EMPTY"}, "", "environment variable EMPTY is empty"},
		{"missing file", routes.Secret{File: dir + "/none"}, "", dir + "/none: no such file"},
		{"empty file", routes.Secret{File: dir + "/empty"}, "", dir + "/empty is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.Value(lookup)
			if got != c.want || (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("got %q and %v, want %q and %q", got, err, c.want, c.wantErr)
			}
		})
	}
}

func TestSecretValueReadsTheProcessWithoutALookup(t *testing.T) {
	t.Setenv("ROUTES_TEST_SECRET", "t0ken")
	if got, err := (routes.Secret{Env: "ROUTES_TEST_SECRET"}).Value(nil); got != "t0ken" || err != nil {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestSecretPrintsItsReference(t *testing.T) {
	for _, c := range []struct {
		secret routes.Secret
		text   string
	}{
		{routes.Secret{Env: "TOKEN"}, "env:TOKEN"},
		{routes.Secret{File: "/run/token"}, "file:/run/token"},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", c.secret)
		if fmt.Sprint(c.secret) != c.text || !strings.Contains(log.String(), "secret="+c.text) {
			t.Errorf("got %v, %s", c.secret, log.String())
		}
	}
}

// signed is a file with a secret and a certificate beside it.
const signed = "      signing: { secrets: [{ file: token }] }\n      tls: { ca_file: ca.pem }\n"

func loadSigned(t *testing.T, dir string, o routes.Options) (*routes.Config, error) {
	t.Helper()
	file := strings.Replace(route("shop", ""), "webhook: { url: \"https://example.com/shop\" }\n", "webhook:\n      url: https://example.com/shop\n"+signed, 1)
	if err := os.WriteFile(filepath.Join(dir, "routes.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return routes.Load([]string{filepath.Join(dir, "routes.yaml")}, o)
}

func TestPathsStartAtTheFilesFolder(t *testing.T) {
	dir := write(t, map[string]string{"token": "t0ken\n", "ca.pem": "PEM"})
	c, err := loadSigned(t, dir, routes.Options{Secrets: true})
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("got %v and %v", c, err)
	}
	w := c.Routes[0].Webhook
	if w.Signing.Secrets[0].File != filepath.Join(dir, "token") || w.TLS.CAFile != filepath.Join(dir, "ca.pem") {
		t.Errorf("got %v and %v", w.Signing.Secrets, w.TLS)
	}
}

func TestUnreadableSecretsAreWarningsUntilTheyAreNeeded(t *testing.T) {
	dir := t.TempDir()
	c, err := loadSigned(t, dir, routes.Options{})
	if err != nil || len(c.Warnings) != 2 || c.Warnings[0].Code != "unreadable" || c.Warnings[1].Code != "unreadable" {
		t.Errorf("validating: got %v and %v, want two warnings", c, err)
	}
	_, err = loadSigned(t, dir, routes.Options{Secrets: true})
	var problems routes.Problems
	if errors.As(err, &problems); len(problems) != 2 {
		t.Errorf("running: got %v, want two problems", err)
	}
}

func TestSecretFileForEverybody(t *testing.T) {
	dir := write(t, map[string]string{"token": "t0ken\n", "ca.pem": "PEM"})
	for _, name := range []string{"token", "ca.pem"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := loadSigned(t, dir, routes.Options{Secrets: true})
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0].Code != "file-mode" || !strings.Contains(c.Warnings[0].Message, "mode 0644") {
		t.Errorf("got %+v and %v, want one warning", c, err)
	}
}

package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var variable = regexp.MustCompile(`\[(RELAY_[A-Z_]+)\]`)

// fromEnv takes the values of flags that were not given from the environment variables
// that their texts name in brackets.
func fromEnv(cmd *cobra.Command, _ []string) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		m := variable.FindStringSubmatch(f.Usage)
		if m == nil || f.Changed || os.Getenv(m[1]) == "" {
			return
		}
		if wrong := f.Value.Set(os.Getenv(m[1])); wrong != nil {
			err = unusable(fmt.Errorf("%s: %w", m[1], wrong))
		}
	})
	return err
}

// routesFlag adds the flag by which commands find the routes file.
func routesFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "routes", "", "routes file, or a folder of *.yaml [RELAY_ROUTES]")
}

// databaseFlag adds the flag by which commands find the database.
func databaseFlag(f *pflag.FlagSet, url *string) {
	f.StringVar(url, "database", "", "postgres://… or sqlite:PATH [RELAY_DATABASE_URL]")
}

// adminFlag adds the flag by which commands find a running relay.
func adminFlag(f *pflag.FlagSet, addr *string) {
	f.StringVar(addr, "admin", "127.0.0.1:8080", "admin address or URL of relay [RELAY_ADMIN_ADDR]")
}

// oneOf refuses a flag's value that is not one of the words.
func oneOf(flag, got string, words ...string) error {
	if slices.Contains(words, got) {
		return nil
	}
	last := len(words) - 1
	return unusable(fmt.Errorf("%s: want %s or %s, got %q", flag, strings.Join(words[:last], ", "), words[last], got))
}

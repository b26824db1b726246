package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"relay/routes"
)

//go:embed starter.routes.yaml
var starter []byte

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [PATH]",
		Short: "Write a commented routes file to start from, and its schema for editors",
		Long: "Write a commented routes file to start from, routes.yaml unless PATH says otherwise, and beside it\n" +
			"routes.schema.json, by which editors complete and explain the keys. A routes file that is there is never overwritten.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "routes.yaml"
			if len(args) == 1 {
				path = args[0]
			}
			if err := writeNew(path, starter); err != nil {
				return wrong(err)
			}
			schema := filepath.Join(filepath.Dir(path), "routes.schema.json")
			err := writeNew(schema, routes.Schema())
			switch {
			case errors.Is(err, fs.ErrExist):
				schema += " (left as it was; relay schema prints the one of this relay)"
			case err != nil:
				return wrong(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s and %s\nnext: relay validate %s\n", path, schema, path)
			return nil
		},
	}
}

// writeNew writes a file that is not there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a routes file holds no secret
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already (%w): give another path, or remove it", path, fs.ErrExist)
	}
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// manCommand writes the manual pages; packages are made with it.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write a manual page for each command into a folder", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // manual pages are for everybody
				return unusable(fmt.Errorf("make the folder: %w", err))
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			escape(root)
			header := &doc.GenManHeader{Section: "1", Source: "relay " + relayVersion(), Manual: "relay"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return unusable(fmt.Errorf("write the manual pages: %w", err))
			}
			return nil
		},
	}
}

// escape keeps the brackets of flags' texts, which pages are made of as of Markdown,
// from being taken for links.
func escape(cmd *cobra.Command) {
	flag := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "[", `\[`) }
	cmd.LocalFlags().VisitAll(flag)
	for _, sub := range cmd.Commands() {
		escape(sub)
	}
}

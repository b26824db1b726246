package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/routes"
)

func validateCommand() *cobra.Command {
	var format string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate PATH…",
		Short: "Check routes files without any server",
		Long:  "Check routes files, or folders of *.yaml, and print every mistake with its place and its cure; - reads standard input.",
		Args:  cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json or github")
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings for mistakes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch format {
		case "text", "json", "github":
		default:
			return unusable(fmt.Errorf("--format: want text, json or github, got %q", format))
		}
		o := routes.Options{Stdin: cmd.InOrStdin(), CheckFilter: dispatcher.CheckFilter}
		c, err := loadRoutes(args, o, cmd.OutOrStdout(), format)
		if err != nil {
			return err
		}
		if strict && len(c.Warnings) > 0 {
			return wrong(nil)
		}
		if format == "text" {
			fmt.Fprintf(cmd.OutOrStdout(), "valid: %d routes, %d streams declared\n", len(c.Routes), len(c.Streams))
		}
		return nil
	}
	return cmd
}

// loadRoutes loads a routes file and prints its mistakes and warnings to w. Its error
// has been printed, but for one of a file that could not be read.
func loadRoutes(paths []string, o routes.Options, w io.Writer, format string) (*routes.Config, error) {
	c, err := routes.Load(paths, o)
	var problems routes.Problems
	switch {
	case errors.As(err, &problems):
		if err := routes.WriteProblems(w, format, problems); err != nil {
			return nil, unusable(err)
		}
		return nil, wrong(nil)
	case err != nil:
		return nil, unusable(err)
	}
	if len(c.Warnings) > 0 {
		if err := routes.WriteProblems(w, format, c.Warnings); err != nil {
			return nil, unusable(err)
		}
	}
	return c, nil
}

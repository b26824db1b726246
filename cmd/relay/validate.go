package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/routes"
)

func validateCommand() *cobra.Command {
	var format string
	var strict, onServers bool
	cmd := &cobra.Command{
		Use:   "validate PATH…",
		Short: "Check routes files, with --live against the servers too",
		Long: "Check routes files, or folders of *.yaml, and print every mistake with its place and its cure; - reads standard input.\n" +
			"Without --live no server is needed. With it: streams are there and have the subjects, consumers can be used, the NATS\n" +
			"user has its permissions, hosts of webhooks have addresses, secrets can be read.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which files? Give a routes file or a folder, or - for standard input")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json or github")
	nats := natsFlags(cmd)
	cmd.Flags().BoolVar(&onServers, "live", false, "check the file against the NATS servers too")
	cmd.Flags().BoolVar(&strict, "strict", false, "take warnings for mistakes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneOf("--format", format, "text", "json", "github"); err != nil {
			return err
		}
		if flag := natsGiven(cmd); flag != "" && !onServers {
			return unusable(fmt.Errorf("%s is for --live: without it no server is asked", flag))
		}
		stdin, err := readStdin(input(cmd), args)
		if err != nil {
			return err
		}
		load := func(streams []routes.Stream) (*routes.Config, error) {
			return routes.Load(args, routes.Options{
				Stdin: bytes.NewReader(stdin), CheckFilter: dispatcher.CheckFilter, Secrets: onServers, Streams: streams,
			})
		}
		c, err := load(nil)
		if err == nil && onServers {
			js, connErr := askJetStream(cmd, nats)
			if connErr != nil {
				return connErr
			}
			defer js.Conn().Close()
			c, err = validateLive(cmd.Context(), js, c, load)
		}
		if c, err = reportRoutes(c, err, cmd.OutOrStdout(), format); err != nil {
			return err
		}
		if strict && len(c.Warnings) > 0 {
			return wrong(nil)
		}
		if format == "text" {
			fmt.Fprintf(cmd.OutOrStdout(), "valid: %s, %s declared\n", counted(len(c.Routes), "route"), counted(len(c.Streams), "stream"))
		}
		return nil
	}
	return cmd
}

// loadRoutes loads routes and prints their mistakes and warnings to w. Its error has
// been printed, but for one of a file that could not be read.
func loadRoutes(load func() (*routes.Config, error), w io.Writer) (*routes.Config, error) {
	c, err := load()
	return reportRoutes(c, err, w, "text")
}

// readStdin reads standard input when a path asks for it: it can be read only once.
func readStdin(stdin io.Reader, paths []string) ([]byte, error) {
	if !slices.Contains(paths, "-") {
		return nil, nil
	}
	const most = 2 << 20 // above what a routes file may have
	data, err := io.ReadAll(io.LimitReader(stdin, most))
	if err != nil {
		return nil, unusable(fmt.Errorf("read standard input: %w", err))
	}
	return data, nil
}

// reportRoutes prints what came of a loading.
func reportRoutes(c *routes.Config, err error, w io.Writer, format string) (*routes.Config, error) {
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

// counted is a number of things in words: 1 route, 2 routes.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

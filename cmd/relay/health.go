package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// healthCommand is for container images that have no shell and no curl.
func healthCommand() *cobra.Command {
	var addr string
	var answer struct{ Status string }
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running relay whether it is ready; exit 1 if it is not",
		Args:  cobra.NoArgs,
	}
	adminFlag(cmd.Flags(), &addr)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := newAdminClient(addr)
		if err != nil {
			return err
		}
		if err := getJSON(cmd.Context(), client.base+"/readyz", &answer); err != nil {
			return wrong(err)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer.Status)
		return err
	}
	return cmd
}

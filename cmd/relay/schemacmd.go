package main

import (
	"github.com/spf13/cobra"

	"relay/routes"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema (draft-07) of the routes file, for editors",
		Long: "Print the JSON Schema (draft-07) of the routes file. An editor that knows it completes and explains every key:\n" +
			"relay schema > routes.schema.json, and at the top of the routes file\n\n" +
			"  # yaml-language-server: $schema=./routes.schema.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(routes.Schema())
			return err
		},
	}
}

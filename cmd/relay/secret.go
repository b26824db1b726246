package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"relay/internal/webhook"
)

func secretCommand() *cobra.Command {
	var pair bool
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Make a new signing secret",
		Long: "Make a new signing secret: whsec_, which sender and receiver share, or with --ed25519 a pair, of which the sender\n" +
			"keeps whsk_ and the receiver gets whpk_. It is printed once and kept nowhere.",
		Example: "  relay secret > billing.whsec    # then signing: { secrets: [ { file: billing.whsec } ] }",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&pair, "ed25519", false, "make an ed25519 pair: the private key on the first line, the public one on the second")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := cmd.OutOrStdout()
		if !pair {
			_, err := fmt.Fprintln(out, webhook.NewSecret())
			return err
		}
		private, public := webhook.NewKeyPair()
		_, err := fmt.Fprintf(out, "%s\n%s\n", private, public)
		return err
	}
	return cmd
}

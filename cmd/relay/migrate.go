package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"relay/dlqstore"
)

func migrateCommand() *cobra.Command {
	var database string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date, or say where it is",
	}
	databaseFlag(cmd.PersistentFlags(), &database)
	with := func(do func(cmd *cobra.Command, store dlqstore.Store) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			if database == "" {
				return unusable(errors.New("which database? Give --database URL, or set RELAY_DATABASE_URL"))
			}
			store, err := dlqstore.Open(cmd.Context(), database, dlqstore.OpenOptions{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return unusable(err)
			}
			defer store.Close()
			return do(cmd, store)
		}
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Apply the migrations that are missing", Args: cobra.NoArgs,
			RunE: with(func(cmd *cobra.Command, store dlqstore.Store) error {
				if err := store.Migrate(cmd.Context()); err != nil {
					return migrateError(err)
				}
				_, err := status(cmd, store)
				return err
			}),
		},
		&cobra.Command{
			Use: "status", Short: "Print the schema's version; exit 1 if it is not the newest", Args: cobra.NoArgs,
			RunE: with(func(cmd *cobra.Command, store dlqstore.Store) error {
				s, err := status(cmd, store)
				if err == nil && s.Current != s.Known {
					return wrong(nil)
				}
				return err
			}),
		},
	)
	return cmd
}

func status(cmd *cobra.Command, store dlqstore.Store) (dlqstore.Schema, error) {
	s, err := store.Schema(cmd.Context())
	if err != nil {
		return s, migrateError(err)
	}
	note := "up to date"
	switch {
	case s.Current < s.Known:
		note = "run 'relay migrate up', or start relay without --no-migrate"
	case s.Current > s.Known:
		note = "newer than this relay knows: upgrade relay"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "schema version %d of %d: %s\n", s.Current, s.Known, note)
	return s, err
}

// migrateError tells a schema that is wrong from a database that could not be asked.
func migrateError(err error) error {
	if errors.Is(err, dlqstore.ErrTooNew) {
		return wrong(err)
	}
	return unusable(err)
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthCommand is for container images that have no shell and no curl.
func healthCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running relay whether it is ready; exit 1 if it is not",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&addr, "admin", "127.0.0.1:8080", "its admin address [RELAY_ADMIN_ADDR]")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := fromEnv(cmd, map[string]string{"admin": "RELAY_ADMIN_ADDR"}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
		if err != nil {
			return unusable(fmt.Errorf("--admin %s: %w", addr, err))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return wrong(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return wrong(fmt.Errorf("%s answered %s", req.URL, resp.Status))
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
		return err
	}
	return cmd
}

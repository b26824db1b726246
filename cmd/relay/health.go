package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

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
	adminFlag(cmd.Flags(), &addr)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := newAdminClient(addr)
		if err != nil {
			return err
		}
		answer, err := look(cmd.Context(), client.base+"/readyz")
		if err == nil {
			err = readiness(answer)
		}
		if err != nil {
			return wrong(err)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
		return err
	}
	return cmd
}

// readiness is nil if the answer of /readyz says ready, and else tells what is wrong.
func readiness(a looked) error {
	var says struct {
		Status string
		Checks map[string]struct {
			OK      bool
			Message string
		}
	}
	said := json.Unmarshal(a.body, &says) == nil
	switch {
	case a.status == http.StatusOK && says.Status == "ready":
		return nil
	case a.status != http.StatusServiceUnavailable:
		return fmt.Errorf("%s answered %d %s, which is no word of readiness: is it relay's admin address?", a.from, a.status, http.StatusText(a.status))
	case !said: // it has not started yet, and says so in a line
		line, _, _ := strings.Cut(string(a.body), "\n")
		return errors.New("not ready: " + line)
	}
	var why []string
	for _, name := range slices.Sorted(maps.Keys(says.Checks)) {
		switch c := says.Checks[name]; {
		case c.OK:
		case c.Message == "": // who may know has to sign in
			why = append(why, name+" (the admin page and relay's log say why)")
		default:
			why = append(why, name+": "+c.Message)
		}
	}
	return errors.New("not ready: " + strings.Join(why, "; "))
}

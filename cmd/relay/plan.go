package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/routes"
)

// exitChanges is the exit code of a plan that has something to do.
const exitChanges = 3

func planCommand() *cobra.Command {
	var routesPath string
	var prune bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what running the routes file would change on the NATS servers",
		Long: "Show what running the routes file would create (+), change in place (~), recreate (±) or refuse to touch (!) on the\n" +
			"NATS servers. Nothing is changed, unless --prune is given: that removes the consumers whose route has gone.\n" +
			"Exit code: 0 nothing to do, 3 there are changes, 1 something is refused, 2 the servers could not be asked.",
		Args: cobra.NoArgs,
	}
	server := natsFlags(cmd)
	routesFlag(cmd.Flags(), &routesPath)
	cmd.Flags().BoolVar(&prune, "prune", false, "remove the consumers that relay made and no route of the file names")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := namedRoutes(cmd, routesPath)
		if err != nil {
			return err
		}
		js, err := askJetStream(cmd, server)
		if err != nil {
			return err
		}
		defer js.Conn().Close()
		plan, err := dispatcher.NewPlan(cmd.Context(), js, c)
		if err != nil {
			return unusable(err)
		}
		if prune {
			if err := plan.Prune(cmd.Context(), js); err != nil {
				return wrong(err)
			}
		}
		return printPlan(cmd.OutOrStdout(), plan, prune)
	}
	return cmd
}

// namedRoutes loads the file that --routes names, and prints what is
// wrong with it to stderr.
func namedRoutes(cmd *cobra.Command, path string) (*routes.Config, error) {
	if path == "" {
		return nil, unusable(errNoRoutes)
	}
	return loadRoutes(func() (*routes.Config, error) {
		return routes.Load([]string{path}, routes.Options{Stdin: input(cmd), CheckFilter: dispatcher.CheckFilter})
	}, cmd.ErrOrStderr())
}

var errNoRoutes = errors.New("which routes file? Give --routes PATH, or set RELAY_ROUTES")

// printPlan writes the plan like a diff and returns the command's exit code as an error.
func printPlan(w io.Writer, plan *dispatcher.Plan, pruned bool) error {
	signs := map[dispatcher.Action]string{
		dispatcher.Create: "+", dispatcher.Update: "~", dispatcher.Recreate: "±", dispatcher.Refuse: "!",
	}
	count := map[dispatcher.Action]int{}
	for _, s := range plan.Steps {
		count[s.Action]++
		if s.Action == dispatcher.Leave {
			continue
		}
		fmt.Fprintf(w, "%s %s %s%s\n", signs[s.Action], s.Action, s.Target(), ofRoute(s.Route))
		for _, c := range s.Changes {
			fmt.Fprintf(w, "    %s\n", c)
		}
		if s.Note != "" {
			fmt.Fprintf(w, "    (%s)\n", s.Note)
		}
	}
	printOrphans(w, plan.Orphans, pruned)
	changes := count[dispatcher.Create] + count[dispatcher.Update] + count[dispatcher.Recreate]
	if changes+count[dispatcher.Refuse] > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d to create, %d to update, %d to recreate, %d refused, %d as they are\n",
		count[dispatcher.Create], count[dispatcher.Update], count[dispatcher.Recreate], count[dispatcher.Refuse], count[dispatcher.Leave])
	switch {
	case count[dispatcher.Refuse] > 0:
		return wrong(nil)
	case count[dispatcher.Recreate] > 0:
		fmt.Fprintln(w, "relay run --allow-recreate does it; without the flag the routes to be recreated do not run")
		return &exitError{exitChanges, nil}
	case changes > 0:
		return &exitError{exitChanges, nil}
	}
	return nil
}

func ofRoute(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (route %q)", name)
}

func printOrphans(w io.Writer, orphans []dispatcher.Orphan, pruned bool) {
	for _, o := range orphans {
		sign, text := "?", "orphan, relay plan --prune removes it"
		if pruned {
			sign, text = "-", "removed"
		}
		fmt.Fprintf(w, "%s consumer %q of stream %q (route %q has gone): %d pending, %d not settled; %s\n",
			sign, o.Consumer, o.Stream, o.Route, o.NumPending, o.NumAckPending, text)
	}
}

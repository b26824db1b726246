package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"relay/routes"
)

func routesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Show the routes of a file, or which of them a subject takes",
	}
	var path string
	routesFlag(cmd.PersistentFlags(), &path)
	cmd.AddCommand(routesShowCommand(&path), routesExplainCommand(&path))
	return cmd
}

func routesShowCommand(path *string) *cobra.Command {
	var resolved, origin bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List the routes; --resolved writes them out with every default",
		Args:  cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&resolved, "resolved", false, "write streams and routes out in full, as YAML")
	cmd.Flags().BoolVar(&origin, "origin", false, "with --resolved: say where each value comes from, FILE:LINE or default")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := namedRoutes(cmd, *path)
		if err != nil {
			return err
		}
		if resolved || origin {
			return c.WriteResolved(cmd.OutOrStdout(), origin)
		}
		return listRoutes(cmd.OutOrStdout(), c)
	}
	return cmd
}

func listRoutes(w io.Writer, c *routes.Config) error {
	t := table(w)
	fmt.Fprintln(t, "ROUTE\tSTREAM\tFILTER SUBJECTS\tWEBHOOK\tWHERE")
	for _, r := range c.Routes {
		name := r.Name
		if !r.Enabled {
			name += " (disabled)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, r.Stream, strings.Join(r.FilterSubjects, ", "), r.Webhook.PublicURL(), r.Pos)
	}
	return t.Flush()
}

func routesExplainCommand(path *string) *cobra.Command {
	return &cobra.Command{
		Use:     "explain SUBJECT",
		Short:   "Say which routes a message of that subject takes, and why the others not",
		Example: "  relay routes explain orders.created --routes routes.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := namedRoutes(cmd, *path)
			if err != nil {
				return err
			}
			subject := args[0]
			if slices.ContainsFunc(strings.Split(subject, "."), func(token string) bool { return token == "" || strings.ContainsAny(token, " \t*>") }) {
				return unusable(fmt.Errorf("a message's subject has tokens between its dots, without spaces and wildcards, got %q", subject))
			}
			explain(cmd.OutOrStdout(), c, subject)
			return nil
		},
	}
}

// explain goes through the routes and tells of each whether it takes the subject.
func explain(w io.Writer, c *routes.Config, subject string) {
	taken := 0
	for _, r := range c.Routes {
		var why string
		word := "no "
		filter, match := matching(r.FilterSubjects, subject)
		switch {
		case !match:
			why = mismatches(r.FilterSubjects, subject)
		case !stores(c, r.Stream, subject):
			why = fmt.Sprintf("filter %s matches, but stream %s does not store the subject", filter, r.Stream)
		case !r.Enabled:
			why = fmt.Sprintf("filter %s matches, but the route is disabled", filter)
		default:
			taken++
			word, why = "yes", fmt.Sprintf("filter %s of stream %s matches; POST %s", filter, r.Stream, r.Webhook.PublicURL())
			if r.Filter != "" {
				why += fmt.Sprintf("\n       if the message passes its filter: %s", r.Filter)
			}
		}
		fmt.Fprintf(w, "  %s  %s (%s): %s\n", word, r.Name, r.Pos, why)
	}
	fmt.Fprintf(w, "%s takes %d of %d routes\n", subject, taken, len(c.Routes))
}

// matching is the first of the filters that matches the subject, and whether one does.
func matching(filters []string, subject string) (string, bool) {
	i := slices.IndexFunc(filters, func(f string) bool { return routes.Matches(f, subject) })
	if i < 0 {
		return "", false
	}
	return filters[i], true
}

// stores says whether the stream keeps the subject, as far as the file knows.
func stores(c *routes.Config, stream, subject string) bool {
	i := slices.IndexFunc(c.Streams, func(s routes.Stream) bool { return s.Name == stream })
	if i < 0 {
		return true
	}
	_, ok := matching(c.Streams[i].Subjects, subject)
	return ok
}

// mismatches says of each filter where it leaves the subject.
func mismatches(filters []string, subject string) string {
	texts := make([]string, len(filters))
	for i, f := range filters {
		texts[i] = "filter " + f + " " + mismatch(strings.Split(f, "."), strings.Split(subject, "."))
	}
	return strings.Join(texts, "; ")
}

func mismatch(filter, subject []string) string {
	for i, want := range filter {
		switch {
		case i == len(subject):
			return fmt.Sprintf("has more than the %d tokens of the subject", len(subject))
		case want != "*" && want != ">" && want != subject[i]:
			return fmt.Sprintf("wants %q as token %d, not %q", want, i+1, subject[i])
		}
	}
	return fmt.Sprintf("has fewer than the %d tokens of the subject", len(subject))
}

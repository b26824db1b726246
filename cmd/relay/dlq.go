package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func dlqCommand() *cobra.Command {
	o := &dlqOptions{}
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters, replay, discard, restore, export and import them",
		Long: "Work with the dead letters of a running relay, over its admin API.\n\n" +
			"Without ids, list, replay, discard, restore and export take the filters of the API; what would change something\n" +
			"asks first, with the count, unless --yes is given. A relay that asks who you are takes the bearer token in\n" +
			adminToken + ".",
	}
	adminFlag(cmd.PersistentFlags(), &o.admin)
	cmd.PersistentFlags().StringVarP(&o.output, "output", "o", "table", "table or json")
	cmd.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if err := fromEnv(cmd, args); err != nil { // in place of the root's
			return err
		}
		err := oneOf("--output", o.output, "table", "json")
		if err == nil {
			o.client, err = newAdminClient(o.admin)
		}
		return err
	}
	cmd.AddCommand(o.listCommand(), o.showCommand(), o.groupsCommand(), o.exportCommand(), o.replayCommand(), o.jobCommand(),
		o.discardCommand(), o.restoreCommand(), o.importCommand(), o.rebuildCommand())
	return cmd
}

// dlqOptions are what the commands under dlq have in common.
type dlqOptions struct {
	admin, output string
	client        *adminClient
}

func (o *dlqOptions) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first", Args: cobra.NoArgs,
		Example: "  relay dlq list --route orders-to-billing --since 24h --state dead",
	}
	filter := addFilterFlags(cmd, true)
	limit := cmd.Flags().Int("limit", 50, "how many at most; 0: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.output == "json" {
			return o.printArray(cmd, filter.query(), *limit)
		}
		w := table(cmd.OutOrStdout())
		fmt.Fprintln(w, "ID\tROUTE\tSTATE\tREASON\tSTATUS\tFAILED\tSUBJECT\tERROR")
		err := o.client.each(cmd.Context(), filter.query(), *limit, func(data json.RawMessage) error {
			var d letter
			if err := json.Unmarshal(data, &d); err != nil {
				return unusable(err)
			}
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, cell(d.Route), d.State, d.Reason, number(d.Status),
				clock(d.FailedAt), cell(d.Subject), cell(d.Error))
			return err
		})
		if err != nil {
			return err
		}
		return w.Flush()
	}
	return cmd
}

func (o *dlqOptions) printArray(cmd *cobra.Command, query url.Values, limit int) error {
	w := cmd.OutOrStdout()
	before := "["
	err := o.client.each(cmd.Context(), query, limit, func(data json.RawMessage) error {
		_, err := fmt.Fprintf(w, "%s\n%s", before, data)
		before = ","
		return err
	})
	if err == nil && before == "[" {
		_, err = fmt.Fprint(w, "[")
	}
	if err == nil {
		_, err = fmt.Fprintln(w, "\n]")
	}
	return err
}

func (o *dlqOptions) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a dead letter with its attempts and its payload", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var data json.RawMessage
			if err := o.client.get(cmd.Context(), "dead-letters/"+url.PathEscape(args[0]), nil, &data); err != nil {
				return err
			}
			if o.output == "json" {
				return printJSON(cmd.OutOrStdout(), data)
			}
			var d letter
			if err := json.Unmarshal(data, &d); err != nil {
				return unusable(err)
			}
			return show(cmd.OutOrStdout(), d)
		},
	}
}

func show(out io.Writer, d letter) error {
	w := table(out)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, cell(value))
		}
	}
	line("id", d.ID)
	line("route", d.Route)
	line("state", d.State)
	line("reason", d.Reason)
	line("error", d.Error)
	line("status", number(d.Status))
	line("attempts", strconv.Itoa(d.RetryCount))
	line("subject", d.Subject)
	line("stream", fmt.Sprintf("%s, message %d", d.Stream, d.Sequence))
	line("published", clock(d.Published))
	line("failed", clock(d.FailedAt))
	line("replay of", d.ReplayOf)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		line("header "+name, strings.Join(d.Headers[name], ", "))
	}
	for _, a := range d.Attempts {
		life := ""
		if a.Replay > 0 {
			life = fmt.Sprintf(" of replay %d", a.Replay)
		}
		line(fmt.Sprintf("attempt %d%s", a.Number, life), fmt.Sprintf("%s  %s %s (%.0f ms)", clock(a.At), number(a.Status), a.Error, a.Duration))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !utf8.Valid(d.Payload) {
		_, err := fmt.Fprintf(out, "\n%d bytes of payload that is no text; relay dlq show --output json has it in base64\n", len(d.Payload))
		return err
	}
	text := strings.TrimSuffix(strings.ReplaceAll(string(d.Payload), "\r\n", "\n"), "\n")
	_, err := fmt.Fprintf(out, "\n%s\n", printable(text, '\n', '\t'))
	return err
}

func (o *dlqOptions) groupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "groups", Short: "Count dead letters by cause and route", Args: cobra.NoArgs,
		Example: "  relay dlq groups --state dead --since 24h",
	}
	filter := addFilterFlags(cmd, true)
	limit := cmd.Flags().Int("limit", 50, "how many groups at most, up to 500")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		query := filter.query()
		query.Set("limit", strconv.Itoa(*limit))
		var data json.RawMessage
		if err := o.client.get(cmd.Context(), "dead-letter-groups", query, &data); err != nil {
			return err
		}
		if o.output == "json" {
			return printJSON(cmd.OutOrStdout(), data)
		}
		var list struct {
			Groups []struct {
				Route, Fingerprint, Cause, Sample string
				Status, Count                     int
				LastSeen                          time.Time `json:"last_seen"`
			}
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return unusable(err)
		}
		w := table(cmd.OutOrStdout())
		fmt.Fprintln(w, "COUNT\tROUTE\tSTATUS\tLAST SEEN\tFINGERPRINT\tSAMPLE\tCAUSE")
		for _, g := range list.Groups {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Count, cell(g.Route), number(g.Status), clock(g.LastSeen), g.Fingerprint, g.Sample, cell(g.Cause))
		}
		return w.Flush()
	}
	return cmd
}

func (o *dlqOptions) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write dead letters as one JSON object a line, payloads in base64", Args: cobra.NoArgs,
		Example: "  relay dlq export --route orders-to-billing --file billing.ndjson",
	}
	filter := addFilterFlags(cmd, true)
	limit := cmd.Flags().Int("limit", 0, "how many at most; 0: all")
	file := cmd.Flags().String("file", "", "write here instead of to standard output; the file must not exist")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		out := cmd.OutOrStdout()
		if *file != "" {
			f, cannot := os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // payloads are nobody else's business
			if cannot != nil {
				return unusable(fmt.Errorf("--file: %w", cannot))
			}
			defer func() {
				if err = errors.Join(err, f.Close()); err != nil {
					_ = os.Remove(*file) // half of it would stand in the way of the next try
				}
			}()
			out = f
		}
		n := 0
		err = o.client.each(cmd.Context(), filter.query(), *limit, func(data json.RawMessage) error {
			n++
			_, err := fmt.Fprintf(out, "%s\n", data)
			return err
		})
		if err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d dead letters exported\n", n)
		}
		return err
	}
	return cmd
}

func printJSON(w io.Writer, data json.RawMessage) error {
	_, err := fmt.Fprintf(w, "%s\n", data)
	return err
}

// table aligns the columns of what is written to it, by tabs, when it is flushed.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// cell is foreign text on one line, short enough for a table.
func cell(s string) string {
	const most = 100
	s = printable(s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

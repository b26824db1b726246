package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// importBytes is how much of an export one request carries, and one line more.
const importBytes = 4 << 20

func (o *dlqOptions) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE|-", Short: "Take over the dead letters that another relay's export wrote", Args: cobra.ExactArgs(1),
		Long: "Take over the dead letters that another relay's export wrote, with their ids, as dead. Those that are there already\n" +
			"stay as they are, so that an import may be repeated. They can be replayed once a route has the name of theirs.",
		Example: "  relay dlq import billing.ndjson --yes",
	}
	var ask confirmFlags
	ask.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := input(cmd)
		total := -1
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return unusable(err)
			}
			defer func() { _ = f.Close() }() // it is only read
			if total, err = countLines(f); err != nil {
				return unusable(fmt.Errorf("read %s: %w", args[0], err))
			}
			if ok, err := ask.confirmed(cmd, "import", total); !ok {
				return err
			}
			in = f
		} else if !ask.yes || ask.dryRun {
			return unusable(errors.New("import -: --yes is wanted, and no --dry-run: standard input holds the dead letters, not the answer"))
		}
		return o.importLines(cmd, in, total)
	}
	return cmd
}

// countLines counts the lines that hold something, and goes back to the beginning.
func countLines(f *os.File) (int, error) {
	n := 0
	err := eachLine(f, func([]byte) error { n++; return nil })
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return n, err
}

func eachLine(in io.Reader, f func([]byte) error) error {
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := f(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// importLines sends some lines at a time. Total is below 0 when it is not known.
func (o *dlqOptions) importLines(cmd *cobra.Command, in io.Reader, total int) error {
	bar := progress(max(0, total), "importing", cmd.ErrOrStderr())
	var some []byte
	read, first, imported := 0, 1, 0
	send := func() error {
		var answer struct{ Imported, Known int }
		if err := o.client.do(cmd.Context(), "POST", "dead-letters/import", some, &answer); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "imported %s; those from number %d on were not\n", letters(imported), first)
			return err
		}
		imported += answer.Imported
		some, first = some[:0], read+1
		_ = bar.Set(read) // it draws, or it does not
		return nil
	}
	err := eachLine(in, func(line []byte) error {
		some = append(some, line...)
		if read++; len(some) < importBytes {
			return nil
		}
		return send()
	})
	if err == nil && len(some) > 0 {
		err = send()
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %s, %d were there already\n", letters(imported), read-imported)
	return err
}

func (o *dlqOptions) rebuildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Bring back from the dead-letter streams what the table has lost", Args: cobra.NoArgs,
		Long: "Read the dead-letter streams from their beginning and bring back what the table has lost. What is there stays as it\n" +
			"is, and what was discarded or delivered comes back as that, as long as the audit knows. It may be interrupted and\n" +
			"begun again.",
		Example: "  relay dlq rebuild --dry-run",
	}
	var ask confirmFlags
	ask.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		missing, err := o.rebuild(cmd, true)
		if err != nil {
			return err
		}
		if ok, err := ask.confirmed(cmd, "bring back", missing); !ok {
			return err
		}
		n, err := o.rebuild(cmd, false)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "brought back %s\n", letters(n))
		return err
	}
	return cmd
}

// rebuild goes step by step to the end of the streams, and says how many were missing.
func (o *dlqOptions) rebuild(cmd *cobra.Command, dryRun bool) (int, error) {
	what := "rebuilding"
	if dryRun {
		what = "looking"
	}
	bar := progress(2, what, cmd.ErrOrStderr()) // until the streams are known
	added := 0
	var at struct {
		Stream     string
		Next, Last uint64
		Added      int
		Done       bool
	}
	for !at.Done {
		request := map[string]any{"stream": at.Stream, "next": at.Next, "dry_run": dryRun}
		if err := o.client.post(cmd.Context(), "dead-letters/rebuild", request, &at); err != nil {
			return added, err
		}
		added += at.Added
		bar.ChangeMax64(int64(at.Last)) //nolint:gosec // sequences
		_ = bar.Set64(int64(at.Next))   //nolint:gosec // sequences
	}
	_ = bar.Finish()
	return added, nil
}

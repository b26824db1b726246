package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
)

// confirmFlags are those of every command that changes something.
type confirmFlags struct{ dryRun, yes bool }

func (f *confirmFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say how many there are and change nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

// changeFlags are those of the commands that change chosen dead letters.
type changeFlags struct {
	confirmFlags
	filter filterFlags
	all    bool
	limit  int
}

func addChangeFlags(cmd *cobra.Command) *changeFlags {
	f := &changeFlags{filter: addFilterFlags(cmd, false)}
	cmd.Flags().BoolVar(&f.all, "all", false, "all of them, where neither ids nor filters are given")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "how many at most; 0: all")
	f.add(cmd)
	return f
}

// check refuses a command line that means everything without saying so.
func (f *changeFlags) check(ids []string) error {
	switch {
	case f.limit < 0:
		return errLimit(f.limit)
	case len(ids) == 0 && len(f.filter.query()) == 0 && !f.all:
		return unusable(errors.New("which dead letters? Give ids, filters, or --all"))
	case len(ids) > 0 && (len(f.filter.query()) > 0 || f.all || f.limit > 0):
		return unusable(errors.New("ids exclude filters, --all and --limit"))
	}
	return nil
}

// confirmed says how many there are and asks, unless it need not.
func (f *confirmFlags) confirmed(cmd *cobra.Command, what string, n int) (bool, error) {
	switch {
	case f.dryRun:
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "would %s %s\n", what, letters(n))
		return false, err
	case n == 0:
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "nothing to %s\n", what)
		return false, err
	case f.yes:
		return true, nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s %s? [y/N] ", what, letters(n))
	line, err := bufio.NewReader(input(cmd)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, unusable(err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return false, unusable(errors.New("not confirmed, nothing was changed (--yes confirms beforehand)"))
	}
	return true, nil
}

func letters(n int) string { return counted(n, "dead letter") }

func (o *dlqOptions) replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replay [ID…]", Short: "Send dead letters again, to the route that failed",
		Long: "Send dead letters again, to the route that failed, as one job of the running relay. The command shows how far it\n" +
			"is; interrupted, it leaves the job running. Exit code 1 says that not all of them were delivered.",
		Example: "  relay dlq replay --route orders-to-billing --since 24h --rate 50 --stop-after 20",
	}
	change := addChangeFlags(cmd)
	rate := cmd.Flags().Float64("rate", 0, "how many a second at most; 0: as many as the receiver takes")
	ramp := cmd.Flags().Bool("ramp", false, "begin with one, then 10, then 100 at a time, as they get through")
	stopAfter := cmd.Flags().Int("stop-after", 0, "pause when that many died again; 0: never")
	detach := cmd.Flags().Bool("detach", false, "start the job and do not wait for its end")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if err := change.check(ids); err != nil {
			return err
		}
		filter, err := change.filter.body(ids)
		if err != nil {
			return err
		}
		request := map[string]any{
			"filter": filter, "limit": change.limit, "rate_per_second": *rate, "ramp": *ramp, "stop_after": *stopAfter, "dry_run": true,
		}
		var counted struct{ Count int }
		if err := o.client.post(cmd.Context(), "replays", request, &counted); err != nil {
			return err
		}
		if ok, err := change.confirmed(cmd, "replay", counted.Count); !ok {
			return err
		}
		request["dry_run"] = false
		var started job
		if err := o.client.post(cmd.Context(), "replays", request, &started); err != nil {
			return err
		}
		if *detach {
			return o.printJob(cmd.OutOrStdout(), started)
		}
		return o.watch(cmd, started.ID)
	}
	return cmd
}

// job is a replay job as the API shows it; raw is all of it.
type job struct {
	ID, State, Note                         string
	Queued                                  bool
	Total, Done, Delivered, Failed, Skipped int
	Remaining                               int
	ETASeconds                              int       `json:"eta_seconds"`
	FinishedAt                              time.Time `json:"finished_at"`
	raw                                     json.RawMessage
}

// UnmarshalJSON keeps the JSON itself too.
func (j *job) UnmarshalJSON(data []byte) error {
	type plain job
	if err := json.Unmarshal(data, (*plain)(j)); err != nil {
		return err
	}
	j.raw = append(json.RawMessage(nil), data...)
	return nil
}

func (o *dlqOptions) printJob(w io.Writer, j job) error {
	if o.output == "json" {
		return printJSON(w, j.raw)
	}
	state := j.State
	if j.Queued {
		state += " (waits for an older job of the same route)"
	}
	if j.Note != "" {
		state += " (" + j.Note + ")"
	}
	rest := ""
	if j.Remaining > 0 {
		rest = fmt.Sprintf(", %d remaining", j.Remaining)
	}
	if j.ETASeconds > 0 {
		rest += fmt.Sprintf(" (about %s)", time.Duration(j.ETASeconds)*time.Second)
	}
	_, err := fmt.Fprintf(w, "replay job %s %s: %d of %d done, %d delivered, %d died again, %d skipped%s\n",
		j.ID, state, j.Done, j.Total, j.Delivered, j.Failed, j.Skipped, rest)
	return err
}

const watchInterval = 500 * time.Millisecond

// watch shows how far a job is until it needs a person or is at its end. An outage of
// relay does not end it: the job goes on when relay is back.
func (o *dlqOptions) watch(cmd *cobra.Command, id string) error {
	var bar *progressbar.ProgressBar
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		var j job
		err := o.client.get(cmd.Context(), "replays/"+url.PathEscape(id), nil, &j)
		switch {
		case cmd.Context().Err() != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "\nreplay job %s goes on; look at it with\n  relay dlq job %s --watch\n", id, id)
			return unusable(nil)
		case isRefusal(err):
			return err
		case err == nil:
			if bar == nil {
				bar = progress(j.Total, "replaying", cmd.ErrOrStderr())
			}
			_ = bar.Set(j.Done) // it draws, or it does not
			if j.State != "running" {
				return o.end(cmd, j)
			}
		}
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
		}
	}
}

func isRefusal(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status < http.StatusInternalServerError
}

// end prints how a job ended. Exit code 1 says that something is left to do.
func (o *dlqOptions) end(cmd *cobra.Command, j job) error {
	if err := o.printJob(cmd.OutOrStdout(), j); err != nil {
		return err
	}
	if j.State != "done" || j.Failed > 0 {
		return wrong(nil)
	}
	return nil
}

func (o *dlqOptions) jobCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "job ID [pause|resume|cancel|rate N]", Short: "Look at a replay job, pause, resume or cancel it, or change its rate", Args: cobra.RangeArgs(1, 3),
		Long: "Look at a replay job, pause, resume or cancel it, or let it start at most N a second (0: no limit). What it has sent already goes on in any case.",
	}
	watch := cmd.Flags().Bool("watch", false, "show how far it is until it ends or is paused")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := "replays/" + url.PathEscape(args[0])
		var j job
		var err error
		switch {
		case len(args) == 1:
			err = o.client.get(cmd.Context(), path, nil, &j)
		case len(args) == 3 && args[1] == "rate":
			perSecond, bad := strconv.ParseFloat(args[2], 64)
			if bad != nil {
				return unusable(fmt.Errorf("rate: a number wanted, got %q", args[2]))
			}
			err = o.client.post(cmd.Context(), path+"/rate", map[string]float64{"rate_per_second": perSecond}, &j)
		case len(args) == 3:
			err = unusable(fmt.Errorf("only rate takes a number, got %q after %q", args[2], args[1]))
		case args[1] == "pause" || args[1] == "resume" || args[1] == "cancel":
			err = o.client.post(cmd.Context(), path+"/"+args[1], struct{}{}, &j)
		default:
			err = unusable(fmt.Errorf("pause, resume or cancel, or rate and a number wanted, got %q", args[1]))
		}
		if err != nil {
			return err
		}
		if *watch {
			return o.watch(cmd, j.ID)
		}
		return o.printJob(cmd.OutOrStdout(), j)
	}
	return cmd
}

func (o *dlqOptions) discardCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "discard [ID…]", Short: "Put dead letters aside that are not needed; restore undoes it"}
	change := addChangeFlags(cmd)
	note := cmd.Flags().String("note", "", "why they are not needed, for the audit")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return o.change(cmd, change, ids, "discard", *note)
	}
	return cmd
}

func (o *dlqOptions) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "restore [ID…]", Short: "Bring discarded dead letters back"}
	change := addChangeFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		return o.change(cmd, change, ids, "restore", "")
	}
	return cmd
}

// change changes the dead letters of the ids, or all that the filters choose.
func (o *dlqOptions) change(cmd *cobra.Command, change *changeFlags, ids []string, act, note string) error {
	if err := change.check(ids); err != nil {
		return err
	}
	if len(ids) > 0 {
		return o.changeEach(cmd, change, ids, act, note)
	}
	filter, err := change.filter.body(nil)
	if err != nil {
		return err
	}
	request := map[string]any{"filter": filter, "limit": change.limit, "reason": note, "dry_run": true}
	var answer struct {
		Count int
		More  bool
	}
	if err := o.client.post(cmd.Context(), "dead-letters/"+act, request, &answer); err != nil {
		return err
	}
	total := answer.Count
	if ok, err := change.confirmed(cmd, act, total); !ok {
		return err
	}
	request["dry_run"] = false
	bar := progress(total, act, cmd.ErrOrStderr())
	done := 0
	for more := true; more; more = answer.More {
		if change.limit > 0 {
			request["limit"] = change.limit - done
		}
		if err := o.client.post(cmd.Context(), "dead-letters/"+act, request, &answer); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "\n%s %d of %s\n", past(act), done, letters(total))
			return err
		}
		done += answer.Count
		_ = bar.Set(min(done, total)) // it draws, or it does not
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %d of %s\n", past(act), done, letters(total))
	return err
}

func past(act string) string { return strings.TrimSuffix(act, "e") + "ed" }

// changeEach asks for one change after the other. What somebody else changed meanwhile
// is told, with who and when, and left as it is.
func (o *dlqOptions) changeEach(cmd *cobra.Command, change *changeFlags, ids []string, act, note string) error {
	if ok, err := change.confirmed(cmd, act, len(ids)); !ok {
		return err
	}
	body := map[string]string{}
	if note != "" {
		body["reason"] = note
	}
	done := 0
	for _, id := range ids {
		var answer json.RawMessage
		err := o.client.post(cmd.Context(), "dead-letters/"+url.PathEscape(id)+"/"+act, body, &answer)
		switch {
		case err == nil:
			done++
		case isRefusal(err):
			fmt.Fprintln(cmd.ErrOrStderr(), "relay:", err)
		default:
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %d of %s\n", past(act), done, letters(len(ids)))
			return err
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %d of %s\n", past(act), done, letters(len(ids)))
	if done < len(ids) {
		return wrong(nil)
	}
	return nil
}

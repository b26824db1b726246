// Command relay dispatches the messages of NATS JetStream streams to webhooks.
//
// Each command has a file of its own; what they share in wiring is serve.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitDone  = 0
	exitWrong = 1 // it is wrong: an invalid file, failed work
	exitUsage = 2 // it could not be checked, or was called wrongly
)

func main() {
	// net/http reports a receiver's stray bytes to the standard logger, quoting them.
	// Nothing that a receiver sends belongs in the log unasked.
	log.SetOutput(io.Discard)
	// The first signal asks for a graceful stop; a second one finds the default handler
	// again, from before relay begins to stop, and ends the process at once.
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run carries out one command line and returns the process's exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "relay",
		Short: "Deliver the messages of NATS JetStream streams as webhooks",
		Long: "relay reads a routes file, binds one durable JetStream consumer to each route and POSTs every message to the\n" +
			"route's webhook. What cannot be delivered is kept as a dead letter that an operator replays.",
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: fromEnv,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(devCommand(), runCommand(), initCommand(), validateCommand(), planCommand(), routesCommand(), schemaCommand(), sendCommand(), receiveCommand(), migrateCommand(),
		dlqCommand(), healthCommand(), versionCommand(), verifyCommand(), secretCommand(),
		testCommand(), listenCommand(), doctorCommand(), manCommand())
	for _, cmd := range root.Commands() {
		if !cmd.Runnable() {
			cmd.RunE, cmd.DisableFlagsInUseLine = whichCommand, true
		}
	}
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(stderr, "relay:", exit.err)
		}
		return exit.code
	case errors.As(err, new(*fs.PathError)): // the output could not be written
		fmt.Fprintln(stderr, "relay:", err)
		return exitUsage
	default: // cobra's: an unknown command or flag
		fmt.Fprintln(stderr, "relay:", err)
		fmt.Fprintln(stderr, "Run 'relay --help' for the commands and their flags.")
		return exitUsage
	}
}

// whichCommand refuses a group of commands that is called without one of them, which
// cobra would answer with the help and exit code 0.
func whichCommand(cmd *cobra.Command, args []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return unusable(fmt.Errorf("%s wants one of %s, got %q", cmd.CommandPath(), strings.Join(names, ", "), strings.Join(args, " ")))
}

// exitError ends a command with an exit code. A nil err has been reported already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func wrong(err error) error { return &exitError{exitWrong, err} }

func unusable(err error) error { return &exitError{exitUsage, err} }

// version is set by the release build; else it comes from the module's build info.
var version = ""

func relayVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

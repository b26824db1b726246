// Command withpostgres runs a command with a Postgres server for tests, and stops the
// server when the command has ended, whichever way:
//
//	withpostgres go test ./...
//
// The command finds the server's URL in RELAY_TEST_POSTGRES_URL. If that is set already,
// no server is started. The exit code is the command's.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"relay/internal/testkit"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpostgres:", err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("a command is missing")
	}
	// From here on a signal ends the command, and its end ends us.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// A group of its own, so that a signal reaches what the command has started too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getenv(testkit.PostgresEnv) == "" {
		pg, startErr := testkit.StartPostgres()
		if startErr != nil {
			return 1, startErr
		}
		defer func() { err = errors.Join(err, pg.Close()) }()
		cmd.Env = append(os.Environ(), testkit.PostgresEnv+"="+pg.URL)
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal)) // it may have ended just now
		case err := <-ended:
			if _, failed := errors.AsType[*exec.ExitError](err); failed {
				return max(1, cmd.ProcessState.ExitCode()), nil // it has said why
			}
			return 0, err
		}
	}
}

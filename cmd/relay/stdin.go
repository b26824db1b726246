package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

var errInterrupted = errors.New("interrupted")

// input is a command's standard input. A signal ends the wait for it.
func input(cmd *cobra.Command) io.Reader { return until{cmd.Context(), cmd.InOrStdin()} }

// until reads from r until ctx ends, so that a signal ends a command that waits for its
// input. What r still reads then is lost; the process is about to end.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	type result struct {
		data []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		b := make([]byte, len(p))
		n, err := u.r.Read(b)
		read <- result{b[:n], err}
	}()
	select {
	case got := <-read:
		return copy(p, got.data), got.err
	case <-u.ctx.Done():
		return 0, errInterrupted
	}
}

package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// The first signal ends a command that waits for its standard input.
func TestInterruptedAtItsInput(t *testing.T) {
	file := writeRoutes(t, ordersRoute, "http://127.0.0.1:1")
	for _, line := range []string{
		"validate -",
		"verify --secret whsec_MDEyMDEyMDEyMDEyMDEyMDEyMDEyMDEyMDEy",
		"send orders.created - --nats nats://127.0.0.1:1",
		"test billing - --routes " + file,
		"dlq import - --yes --admin 127.0.0.1:1",
	} {
		t.Run(line, func(t *testing.T) {
			stdin, silent := io.Pipe()
			defer silent.Close()
			ctx, interrupt := context.WithCancel(t.Context())
			var out bytes.Buffer
			code := make(chan int)
			go func() { code <- run(ctx, strings.Fields(line), stdin, &out, &out) }()
			interrupt()
			if got := <-code; got == exitDone || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("exit %d, want another than 0, and the reason: %s", got, &out)
			}
		})
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// interactive is the --output that obeys keys.
const interactive = "interactive"

// What keys do when a terminal is raw: it makes no signals of them.
const (
	keyInterrupt = 3 // Ctrl-C
	keyEnd       = 4 // Ctrl-D
	keysHelp     = "keys: r sends the last message again, d shows it, q quits\n"
)

// interact makes the terminal hand over keys as they are pressed, and obeys them. The
// context that it returns ends with q; leave gives the terminal back.
func (l *listening) interact(ctx context.Context, stdin io.Reader) (_ context.Context, leave func(), err error) {
	in, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, nil, errors.New("--output interactive takes keys from a terminal, and standard input is none: use --output compact or json")
	}
	// Standard input cannot be read in a way that ends; the terminal behind it can.
	keys, err := os.Open("/dev/tty")
	if err != nil {
		return nil, nil, fmt.Errorf("--output interactive: %w; use --output compact or json", err)
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		_ = keys.Close()
		return nil, nil, fmt.Errorf("--output interactive: make the terminal raw: %w", err)
	}
	l.out, l.errOut = rawWriter{l.out}, rawWriter{l.errOut}
	fmt.Fprint(l.errOut, keysHelp)
	ctx, quit := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.obey(ctx, keys, quit)
	}()
	return ctx, func() {
		quit()
		_ = keys.Close() // which ends the reading
		<-ended
		_ = term.Restore(int(in.Fd()), before) // a terminal that is gone needs none
	}, nil
}

// obey does what the keys say until there are no more.
func (l *listening) obey(ctx context.Context, keys io.Reader, quit func()) {
	key := make([]byte, 1)
	for {
		if _, err := keys.Read(key); err != nil {
			return
		}
		switch key[0] {
		case 'q', keyInterrupt, keyEnd:
			quit()
			return
		case 'r':
			if last := l.sentLast(); last != nil {
				l.forward(ctx, last.message)
			}
		case 'd':
			if last := l.sentLast(); last != nil {
				l.show(last)
			}
		default:
			fmt.Fprint(l.errOut, keysHelp)
		}
	}
}

// sentLast is what was sent last, or nil, which it says.
func (l *listening) sentLast() *exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		fmt.Fprint(l.errOut, "nothing was sent yet\n")
	}
	return l.last
}

// show writes request and answer as relay test does.
func (l *listening) show(e *exchange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "\nPOST %s\n%s\n%s\n\n", l.route.Webhook.URL, strings.Join(e.headers, ""), shown(e.message.Body))
	printAnswer(l.out, e.answer)
}

// rawWriter ends lines as a raw terminal wants it.
type rawWriter struct{ io.Writer }

func (w rawWriter) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"golang.org/x/time/rate"
)

func sendCommand() *cobra.Command {
	var headers []string
	var count int
	var perSecond float64
	var sample string
	cmd := &cobra.Command{
		Use:   "send SUBJECT [FILE|-]",
		Short: "Publish a message to a JetStream subject",
		Long: "Publish the bytes of FILE, or of standard input with -, to SUBJECT and wait until a stream has stored them.\n" +
			"Without FILE a small JSON document is sent. --sample sends a real GitHub webhook; its SUBJECT may be left out.",
		Example: "  relay send orders.created order.json -H 'Event-Type: order'\n" +
			"  relay send --sample github.push --count 1000 --rate 50\n" +
			"  echo '{\"total\":12}' | relay send orders.created - --count 100",
		Args: cobra.MaximumNArgs(2),
	}
	server := natsFlags(cmd)
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a header, as 'Name: value'; may be repeated")
	cmd.Flags().IntVar(&count, "count", 1, "how many times to send it")
	cmd.Flags().Float64Var(&perSecond, "rate", 0, "messages a second; 0 is as fast as the stream stores them")
	cmd.Flags().StringVar(&sample, "sample", "", "payload to send, and its subject: "+strings.Join(sampleNames(), ", "))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if count < 1 {
			return unusable(fmt.Errorf("--count: want 1 or more, got %d", count))
		}
		if perSecond < 0 {
			return unusable(fmt.Errorf("--rate: want 0 or more, got %g", perSecond))
		}
		m, err := sampleOrMessage(sample, args, headers, input(cmd))
		if err != nil {
			return unusable(err)
		}
		js, err := askJetStream(cmd, server)
		if err != nil {
			return err
		}
		defer js.Conn().Close()
		return send(cmd.Context(), js, m, count, perSecond, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// sampleOrMessage makes what is to be sent of the command line with --sample.
func sampleOrMessage(sample string, args, headers []string, stdin io.Reader) (*nats.Msg, error) {
	switch {
	case sample == "" && len(args) == 0:
		return nil, errors.New("which subject? Give one as the argument, or a --sample")
	case sample == "":
		return message(args, headers, stdin)
	case len(args) == 2:
		return nil, errors.New("--sample brings its own payload: leave out FILE")
	case len(args) == 0:
		args = []string{sample}
	}
	payload, err := samplePayload(sample)
	if err != nil {
		return nil, err
	}
	m, err := message(args, headers, stdin)
	if err == nil {
		m.Data = payload
	}
	return m, err
}

// message makes what is to be sent of the command line.
func message(args, headers []string, stdin io.Reader) (*nats.Msg, error) {
	m := nats.NewMsg(args[0])
	m.Data = fmt.Appendf(nil, `{"hello":"relay","sent_at":%q}`, time.Now().UTC().Format(time.RFC3339))
	var err error
	if len(args) == 2 {
		if m.Data, err = readInput(args[1], stdin); err != nil {
			return nil, fmt.Errorf("read the payload: %w", err)
		}
	}
	return m, eachHeader(headers, m.Header.Add)
}

// readInput reads a file, or standard input when the path is -.
func readInput(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}

// eachHeader reads the values of a flag -H.
func eachHeader(lines []string, add func(name, value string)) error {
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return fmt.Errorf("-H %q: want 'Name: value'", line)
		}
		add(name, strings.TrimSpace(value))
	}
	return nil
}

// sendTimeout bounds the wait for one PubAck.
const sendTimeout = 10 * time.Second

func send(ctx context.Context, js jetstream.JetStream, m *nats.Msg, count int, perSecond float64, stdout, stderr io.Writer) error {
	pace := rate.NewLimiter(rate.Inf, 1)
	if perSecond > 0 {
		pace.SetLimit(rate.Limit(perSecond))
	}
	bar := progress(count, "sending", stderr)
	var last *jetstream.PubAck
	var err error
	for range count {
		if err := pace.Wait(ctx); err != nil {
			return wrong(fmt.Errorf("interrupted: %w", err))
		}
		ctx, cancel := context.WithTimeout(ctx, sendTimeout)
		last, err = js.PublishMsg(ctx, m)
		cancel()
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			return wrong(fmt.Errorf("no stream stores subject %q: list one under streams: in the routes file and start relay, or create it (nats stream add)", m.Subject))
		case err != nil:
			return wrong(fmt.Errorf("send to %q: %w", m.Subject, err))
		}
		_ = bar.Add(1) // a bar that cannot be drawn is not worth failing for
	}
	_, err = fmt.Fprintf(stdout, "sent %d × %d bytes to %s, stored in stream %s up to sequence %d\n",
		count, len(m.Data), m.Subject, last.Stream, last.Sequence)
	return err
}

// progress is a bar for long work at a terminal, and nothing elsewhere.
func progress(total int, what string, w io.Writer) *progressbar.ProgressBar {
	f, ok := w.(*os.File)
	if total < 2 || !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
}

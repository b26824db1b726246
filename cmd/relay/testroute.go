package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/internal/webhook"
	"relay/routes"
)

func testCommand() *cobra.Command {
	var routesPath, subject string
	var headers []string
	var attempt int
	cmd := &cobra.Command{
		Use:   "test ROUTE [FILE|-]",
		Short: "Send one message as a route would, without NATS, and show request, answer and outcome",
		Long: "POST the bytes of FILE, or of standard input with -, to the webhook of ROUTE exactly as the route would: its headers,\n" +
			"signature, credentials, TLS and time-out. No NATS is needed and nothing is kept. Without FILE a small JSON document is\n" +
			"sent. Credentials are not shown.\n" +
			"Exit code: 0 the answer would be an ack, 1 it would not.",
		Example: "  relay test orders-to-billing order.json --routes routes.yaml --subject orders.created",
		Args:    cobra.RangeArgs(1, 2),
	}
	f := cmd.Flags()
	routesFlag(f, &routesPath)
	f.StringVar(&subject, "subject", "", "subject of the message (default: the route's first filter subject, test in place of wildcards)")
	f.StringArrayVarP(&headers, "header", "H", nil, "a header of the message, as 'Name: value'; may be repeated")
	f.IntVar(&attempt, "attempt", 1, "which attempt it is, for the outcome that the last one has")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := namedRoutes(cmd, routesPath)
		if err != nil {
			return err
		}
		r, err := namedRoute(c, args[0])
		if err != nil {
			return unusable(err)
		}
		if attempt < 1 {
			return unusable(fmt.Errorf("--attempt: want 1 or more, got %d", attempt))
		}
		if subject == "" {
			subject = exampleSubject(r)
		}
		msg, err := message(append([]string{subject}, args[1:]...), headers, input(cmd))
		if err != nil {
			return unusable(err)
		}
		return tryRoute(cmd.Context(), cmd.OutOrStdout(), r, webhook.Message{
			ID: "msg_test_" + strings.ToLower(rand.Text()), Subject: subject, Stream: r.Stream, Sequence: 1, Attempt: attempt,
			EventTime: time.Now(), Headers: msg.Header, Body: msg.Data,
		})
	}
	return cmd
}

// namedRoute finds a route of the file by its name.
func namedRoute(c *routes.Config, name string) (routes.Route, error) {
	if r, ok := c.Route(name); ok {
		return r, nil
	}
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	return routes.Route{}, fmt.Errorf("no route %q in the file; it has %s", name, strings.Join(names, ", "))
}

// exampleSubject is a subject that the route takes.
func exampleSubject(r routes.Route) string {
	return strings.NewReplacer("*", "test", ">", "test").Replace(r.FilterSubjects[0])
}

// tryRoute sends the message once and writes down what went out, what came back and
// what it means.
func tryRoute(ctx context.Context, w io.Writer, r routes.Route, m webhook.Message) error {
	if _, takes := matching(r.FilterSubjects, m.Subject); !takes {
		fmt.Fprintf(w, "the route would not get this message: none of its filter_subjects (%s) matches %s\n\n",
			strings.Join(r.FilterSubjects, ", "), m.Subject)
	}
	switch wanted, err := dispatcher.Wants(r, m); {
	case err != nil:
		fmt.Fprintf(w, "the route would not send this message, and make it a dead letter: %s\n\n", err)
	case !wanted:
		fmt.Fprintf(w, "the route would not send this message, and ack it: its filter is false\n\n")
	}
	sender, err := webhook.New(r, webhook.Options{Version: relayVersion()})
	if err != nil {
		return unusable(err)
	}
	defer sender.Close()
	var sent []string
	answer := sender.Send(httptrace.WithClientTrace(ctx, headersSent(&sent)), &m)
	if errors.Is(ctx.Err(), context.Canceled) {
		return unusable(errInterrupted)
	}
	fmt.Fprintf(w, "POST %s\n%s\n%s\n\n", r.Webhook.PublicURL(), strings.Join(sent, ""), shown(m.Body))
	printAnswer(w, answer)
	return printOutcome(w, dispatcher.Judge(answer, m.Attempt, r))
}

// headersSent collects the headers of the last request as they went over the wire.
func headersSent(lines *[]string) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { *lines = nil }, // a request begins: the one for a token was another
		WroteHeaderField: func(name string, values []string) {
			if strings.EqualFold(name, "Authorization") {
				values = []string{"[not shown]"}
			}
			for _, v := range values {
				*lines = append(*lines, fmt.Sprintf("%s: %s\n", name, v))
			}
		},
	}
}

func printAnswer(w io.Writer, a webhook.Answer) {
	took := a.Duration.Round(100 * time.Microsecond)
	if a.Err != nil {
		fmt.Fprintf(w, "no answer after %s: %s\n\n", took, a.Err)
		return
	}
	fmt.Fprintf(w, "answer after %s: %d %s\n", took, a.Status, http.StatusText(a.Status))
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		for _, v := range a.Header[name] {
			fmt.Fprintf(w, "%s: %s\n", name, shown([]byte(v)))
		}
	}
	fmt.Fprintf(w, "\n")
	if len(a.Body) > 0 {
		fmt.Fprintf(w, "%s\n\n", shown(a.Body))
	}
}

// printOutcome says what the outcome means; anything but an ack is exit code 1.
func printOutcome(w io.Writer, o dispatcher.Outcome) error {
	fmt.Fprintf(w, "outcome: %s", o.Verdict)
	switch o.Verdict {
	case routes.Ack:
		fmt.Fprintln(w, ", it is delivered")
		return nil
	case routes.Nak:
		fmt.Fprintf(w, ", tried again after about %s (%s)\n", o.RetryIn.Round(time.Millisecond), o.Error)
	case routes.Term:
		fmt.Fprintf(w, ", a dead letter: %s (%s)\n", o.Reason, o.Error)
	case routes.Drop:
		fmt.Fprintf(w, ", ended and not kept (%s)\n", o.Error)
	}
	return wrong(nil)
}

// shown is foreign bytes as a terminal may get them: text without control characters.
func shown(b []byte) string {
	const most = 4 << 10
	if !utf8.Valid(b) {
		return fmt.Sprintf("(%d bytes that are no text)", len(b))
	}
	text := strings.ToValidUTF8(string(b[:min(most, len(b))]), "") // a cut through a character
	if len(b) > most {
		text += fmt.Sprintf("… (%d bytes in all)", len(b))
	}
	return printable(text, '\n', '\t')
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"relay/dispatcher"
	"relay/dlqstore"
	"relay/internal/webhook"
	"relay/routes"
)

func listenCommand() *cobra.Command {
	var l listening
	var routesPath, name, to, since string
	var headers []string
	var printSecret bool
	cmd := &cobra.Command{
		Use:   "listen --route NAME --forward-to URL",
		Short: "Bring a copy of a route's live messages to an app on this machine",
		Long: "Read along with the stream of a route and POST each message to URL, once, as the route would and really signed. The\n" +
			"route does not notice: its consumer is another one, and nothing is acked for it. Its secrets and credentials stay\n" +
			"where they are: requests are signed with --secret, or with a new secret that --print-secret shows.",
		Example: "  relay listen --routes routes.yaml --route orders-to-billing --forward-to localhost:3000/hooks --print-secret",
		Args:    cobra.NoArgs,
	}
	nats := natsFlags(cmd)
	f := cmd.Flags()
	routesFlag(f, &routesPath)
	f.StringVar(&name, "route", "", "name of the route")
	f.StringVar(&to, "forward-to", "", "URL to send to; http:// may be left out")
	f.StringVar(&l.subject, "subject", "", "only messages whose subject this filter matches")
	f.StringVar(&since, "since", "", "begin this long ago (10m), or at this time (RFC 3339), not with what comes from now on")
	f.StringVar(&l.secret, "secret", "", "whsec_ secret to sign with [RELAY_SECRET] (default a new one)")
	f.BoolVar(&printSecret, "print-secret", false, "print the secret that requests are signed with")
	f.StringArrayVarP(&headers, "header", "H", nil, "a header to send with each request, as 'Name: value'; may be repeated")
	f.StringVar(&l.output, "output", "compact", "compact or json: one line a message; interactive: with keys to send the last one again (r), show it (d) and quit (q)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		begin, err := sinceTime(since, time.Now())
		if err != nil {
			return unusable(err)
		}
		if err := oneOf("--output", l.output, "compact", "json", interactive); err != nil {
			return err
		}
		if name == "" || to == "" {
			return unusable(errors.New("which route, and to where? Give --route NAME and --forward-to URL"))
		}
		c, err := namedRoutes(cmd, routesPath)
		if err != nil {
			return err
		}
		if l.route, err = namedRoute(c, name); err != nil {
			return unusable(err)
		}
		if err := l.turnTo(to, headers); err != nil {
			return unusable(err)
		}
		js, err := askJetStream(cmd, nats)
		if err != nil {
			return err
		}
		defer js.Conn().Close()
		l.out, l.errOut = cmd.OutOrStdout(), cmd.ErrOrStderr()
		ctx := cmd.Context()
		if l.output == interactive {
			var leave func()
			if ctx, leave, err = l.interact(ctx, cmd.InOrStdin()); err != nil {
				return unusable(err)
			}
			defer leave()
		}
		return l.run(ctx, js, begin, printSecret)
	}
	return cmd
}

// listening brings what a route gets to another place.
type listening struct {
	route   routes.Route
	subject string // only what this filter matches; empty: all that the route gets
	secret  string
	output  string
	out     io.Writer
	errOut  io.Writer
	sender  *webhook.Sender

	mu   sync.Mutex // of what is sent and written, between messages and keys
	last *exchange  // nil: nothing was sent yet
}

// exchange is one message, as it went out last, and the answer.
type exchange struct {
	message webhook.Message
	headers []string // lines
	answer  webhook.Answer
}

// sinceTime reads --since; the zero time is from now on.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("--since: want a time span like 10m or an RFC 3339 time, got %q", text)
	}
	return t, nil
}

// listenSecret is the name under which the sender finds the secret.
const listenSecret = "RELAY_SECRET"

// turnTo makes the route's copy send to another URL, and makes its sender. What the
// route's own receiver alone should get, its credentials, does not come along.
func (l *listening) turnTo(to string, headers []string) error {
	if !strings.Contains(to, "://") {
		to = "http://" + to
	}
	if u, err := url.Parse(to); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--forward-to takes an http or https URL, got %q", to)
	}
	l.secret = cmp.Or(l.secret, webhook.NewSecret())
	w := &l.route.Webhook
	w.URL, w.Auth, w.TLS, w.Proxy, w.Egress = to, routes.Auth{}, routes.TLS{}, "", routes.Egress{Mode: routes.EgressInternal}
	w.Signing = routes.Signing{Secrets: []routes.Secret{{Env: listenSecret}}}
	w.Headers = maps.Clone(w.Headers)
	if w.Headers == nil {
		w.Headers = map[string]string{}
	}
	err := eachHeader(headers, func(name, value string) { w.Headers[http.CanonicalHeaderKey(name)] = value })
	if err != nil {
		return err
	}
	l.sender, err = webhook.New(l.route, webhook.Options{
		Version: relayVersion(), LookupEnv: func(string) (string, bool) { return l.secret, true },
	})
	return err
}

// run forwards until ctx ends.
func (l *listening) run(ctx context.Context, js jetstream.JetStream, since time.Time, printSecret bool) error {
	defer l.sender.Close()
	filters := l.route.FilterSubjects
	if l.subject != "" {
		if !slices.ContainsFunc(filters, func(f string) bool { return routes.Overlap(f, l.subject) }) {
			return unusable(fmt.Errorf("--subject %s: route %q gets only %s", l.subject, l.route.Name, strings.Join(filters, ", ")))
		}
		filters = []string{l.subject}
	}
	t, err := newTail(ctx, js, l.route.Stream, filters, since, l.errOut)
	if err != nil {
		return unusable(err)
	}
	fmt.Fprintf(l.errOut, "listening: route %s → %s (Ctrl-C ends it)\n", l.route.Name, l.route.Webhook.URL)
	if printSecret {
		fmt.Fprintf(l.errOut, "signing with %s\n", l.secret)
	}
	err = t.run(ctx, func(m jetstream.Msg, meta *jetstream.MsgMetadata) {
		if out, wanted := l.message(m, meta); wanted {
			l.forward(ctx, out)
		}
	})
	if err != nil {
		return unusable(err)
	}
	return nil
}

// forwarded is what became of one message.
type forwarded struct {
	At       time.Time      `json:"at"`
	Subject  string         `json:"subject"`
	Sequence uint64         `json:"stream_seq"`
	ID       string         `json:"id"`
	Status   int            `json:"status"` // 0: no answer
	Duration float64        `json:"duration_ms"`
	Outcome  routes.Verdict `json:"outcome"`
	Error    string         `json:"error,omitempty"`
}

// message is what the route would send of one of JetStream's, unless it would not.
func (l *listening) message(m jetstream.Msg, meta *jetstream.MsgMetadata) (webhook.Message, bool) {
	out := webhook.Message{
		ID:      dlqstore.NewID(l.route.Name, l.route.Stream, meta.Sequence.Stream, meta.Timestamp),
		Subject: m.Subject(), Stream: l.route.Stream, Sequence: meta.Sequence.Stream, Attempt: 1,
		EventTime: meta.Timestamp, Headers: m.Headers(), Body: m.Data(),
	}
	_, takes := matching(l.route.FilterSubjects, out.Subject)
	wanted, err := dispatcher.Wants(l.route, out)
	return out, err == nil && wanted && takes
}

// forward sends one message and writes what became of it.
func (l *listening) forward(ctx context.Context, out webhook.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := &exchange{message: out}
	at := time.Now()
	sent.answer = l.sender.Send(httptrace.WithClientTrace(ctx, headersSent(&sent.headers)), &out)
	if ctx.Err() != nil {
		return
	}
	l.last = sent
	o := dispatcher.Judge(sent.answer, out.Attempt, l.route)
	(&forwarded{
		At: at, Subject: out.Subject, Sequence: out.Sequence, ID: out.ID, Status: o.Status,
		Duration: float64(sent.answer.Duration.Microseconds()) / 1000, Outcome: o.Verdict, Error: o.Error,
	}).write(l.out, l.output)
}

func (f *forwarded) write(w io.Writer, output string) {
	if output == "json" {
		_ = json.NewEncoder(w).Encode(f) //nolint:errchkjson // plain fields; a terminal that is gone is no error
		return
	}
	status := "no answer"
	if f.Status != 0 {
		status = fmt.Sprint(f.Status)
	}
	fmt.Fprintf(w, "%s  %s  #%d  %s  → %s  %gms  %s", f.At.Format("15:04:05.000"), f.Subject, f.Sequence, f.ID, status, f.Duration, f.Outcome)
	if f.Status == 0 {
		fmt.Fprintf(w, " (%s)", f.Error)
	}
	fmt.Fprintln(w)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"relay/internal/webhook"
)

func receiveCommand() *cobra.Command {
	r := &receiver{seen: map[string]int{}}
	cmd := &cobra.Command{
		Use:   "receive [ADDR]",
		Short: "Run a receiver for trying things: it prints what comes and can be told to fail",
		Example: "  relay receive                         # take everything on 127.0.0.1:9000\n" +
			"  relay receive :9001 --fail-first 3    # answer 503 three times a delivery, then 204\n" +
			"  relay receive --flap 10s              # work for 10 s, fail for 10 s, and so on\n" +
			"  relay receive --secret whsec_…        # verify signatures, answer 401 to a wrong one",
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	f.IntVar(&r.status, "status", http.StatusNoContent, "status to answer with")
	f.IntVar(&r.failFirst, "fail-first", 0, "fail the first N attempts of each delivery, with 503")
	f.DurationVar(&r.flap, "flap", 0, "work for this long, fail for as long with 503, and so on")
	f.BoolVar(&r.drop, "drop", false, "fail by closing the connection in place of a 503; alone, every time")
	f.DurationVar(&r.retryAfter, "retry-after", 0, "send Retry-After with every answer that is no success; whole seconds")
	f.DurationVar(&r.delay, "delay", 0, "wait before answering")
	f.StringVar(&r.secret, "secret", "", "whsec_ secret to verify signatures with [RELAY_SECRET]")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.status < 200 || r.status > 599 {
			return unusable(fmt.Errorf("--status: want 200 to 599, got %d", r.status))
		}
		if r.retryAfter%time.Second != 0 || r.retryAfter < 0 || r.flap < 0 {
			return unusable(errors.New("--retry-after wants whole seconds, as HTTP does, and --flap a time of 0 or more"))
		}
		r.began = time.Now()
		addr := "127.0.0.1:9000"
		if len(args) == 1 {
			addr = args[0]
		}
		r.out = cmd.OutOrStdout()
		ln, err := listen(cmd.Context(), addr, "give another address as the argument")
		if err != nil {
			return unusable(err)
		}
		fmt.Fprintf(r.out, "receiving on http://%s (Ctrl-C ends it)\n", ln.Addr())
		if err := serveHTTP(cmd.Context(), ln, r); err != nil {
			return wrong(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(r.out, "%d requests, %d deliveries, %d repeated after a success\n", r.requests, len(r.seen), r.duplicates)
		return nil
	}
	return cmd
}

// receiver is a webhook receiver that people try relay with. Its fields are set before
// it serves.
type receiver struct {
	status     int
	failFirst  int           // attempts of each delivery that fail
	flap       time.Duration // 0: it does not
	drop       bool          // fail without an answer
	retryAfter time.Duration // 0: no such header
	delay      time.Duration
	secret     string
	began      time.Time // when the first time to work begins
	out        io.Writer // nil: nothing is printed
	// judge, when set, decides on the status in place of status and failFirst.
	judge func(req *http.Request, attempt int) int

	mu         sync.Mutex
	seen       map[string]int // attempts by webhook-id; done means a success was answered
	requests   int
	duplicates int
}

// Limits of the receiver: a body, and how many deliveries it remembers.
const (
	receiveMaxBytes = 64 << 20
	receiveMaxIDs   = 100_000
	done            = -1
	// dropped is the status of an answer that is none.
	dropped = 0
)

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, receiveMaxBytes))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	status, note := r.decide(req, body)
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-req.Context().Done():
			note += " (gave up waiting)"
		}
	}
	if r.out != nil {
		h := req.Header
		r.mu.Lock()
		fmt.Fprintln(r.out, printable(fmt.Sprintf("%s  %s %s  %s  attempt %s  %s  %d bytes  → %s%s", time.Now().Format("15:04:05.000"),
			req.Method, req.URL.Path, h.Get("webhook-id"), h.Get("relay-attempt"), h.Get("relay-subject"), len(body), answer(status), note)))
		r.mu.Unlock()
	}
	if status == dropped {
		panic(http.ErrAbortHandler) // net/http closes the connection and says nothing
	}
	if r.retryAfter > 0 && status > 299 {
		w.Header().Set("Retry-After", strconv.Itoa(int(r.retryAfter/time.Second)))
	}
	w.WriteHeader(status)
}

func (r *receiver) decide(req *http.Request, body []byte) (status int, note string) {
	if r.secret != "" {
		if err := webhook.Verify(r.secret, req.Header, body, time.Now()); err != nil {
			return http.StatusUnauthorized, "  " + err.Error()
		}
		note = "  signature ok"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	id := req.Header.Get("webhook-id")
	if r.seen[id] == done {
		r.duplicates++
		note += "  duplicate"
	} else if len(r.seen) >= receiveMaxIDs {
		clear(r.seen)
	}
	attempt := max(0, r.seen[id]) + 1
	switch {
	case r.judge != nil:
		status = r.judge(req, attempt)
	case r.fails(attempt, r.seen[id] == done):
		status = http.StatusServiceUnavailable
		if r.drop {
			status = dropped
		}
	default:
		status = r.status
	}
	if status != dropped && status <= 299 {
		attempt = done
	}
	if r.seen[id] != done {
		r.seen[id] = attempt
	}
	return status, note
}

// fails says whether an attempt is one of those that were asked to fail.
func (r *receiver) fails(attempt int, wasDone bool) bool {
	switch {
	case r.failFirst > 0 && attempt <= r.failFirst && !wasDone:
		return true
	case r.flap > 0:
		return time.Since(r.began)/r.flap%2 == 1
	default:
		return r.drop && r.failFirst == 0
	}
}

func answer(status int) string {
	if status == dropped {
		return "dropped"
	}
	return strconv.Itoa(status)
}

// listen opens a TCP listener; its error says how to mend it.
func listen(ctx context.Context, addr, mend string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; %s", addr, err, mend)
	}
	return ln, nil
}

// serveHTTP serves until ctx ends and then lets requests under way finish.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // what would not finish is cut off
		}
	}()
	err := srv.Serve(ln)
	cancel()
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
}

// Command go is a webhook receiver with net/http and the Standard Webhooks library:
//
//	RELAY_SECRET=whsec_… PORT=9000 go run ./examples/receivers/go
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	webhook, err := standardwebhooks.NewWebhook(os.Getenv("RELAY_SECRET"))
	if err != nil {
		return fmt.Errorf("read RELAY_SECRET: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "9000"))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	fmt.Fprintf(out, "receiving on http://%s\n", ln.Addr())
	srv := &http.Server{
		Handler:           &receiver{webhook: webhook, out: out, seen: map[string]bool{}},
		ReadHeaderTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

type receiver struct {
	webhook *standardwebhooks.Webhook
	out     io.Writer

	mu sync.Mutex
	// seen are the deliveries that were done. A real receiver keeps them in its
	// database, in the transaction of the work; here they are forgotten at the end.
	seen map[string]bool
}

const largest = 1 << 20 // bytes of a body

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, largest)) // the bytes as they came: these are signed
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err := r.webhook.Verify(body, req.Header); err != nil {
		r.mu.Lock()
		fmt.Fprintln(r.out, "refused", err)
		r.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var event any
	if err := json.Unmarshal(body, &event); err != nil { // only now
		http.Error(w, err.Error(), http.StatusUnprocessableEntity) // never: it becomes a dead letter that a person sees
		return
	}
	r.handle(req, event)
	w.WriteHeader(http.StatusNoContent)
}

// handle does the work of a delivery, unless it was done before.
func (r *receiver) handle(req *http.Request, event any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := req.Header.Get("webhook-id")
	if r.seen[id] {
		fmt.Fprintln(r.out, "duplicate", id)
		return
	}
	fmt.Fprintln(r.out, "handled", req.Header.Get("relay-subject"), event)
	r.seen[id] = true
}

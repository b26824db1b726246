package testkit

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
)

// Browser starts a headless Chromium and returns the context that chromedp's functions
// take. The browser talks to no host of its own accord, and ends with the test.
func Browser(t testing.TB) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
		// It loads our own pages only, and its sandbox needs what many machines refuse an
		// ordinary user: namespaces, or a helper with setuid.
		chromedp.NoSandbox,
	)
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	err := chromedp.Do(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("no Chromium on this machine; install it with: make setup (or apt-get install chromium)")
	}
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

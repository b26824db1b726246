//go:build unix

package webhook_test

import (
	"context"
	"syscall"
	"testing"

	"relay/internal/webhook"
)

// A process that has no descriptor left says so, and does not blame the receiver.
func TestSendWithoutDescriptors(t *testing.T) {
	url, got := receiver(t)
	s := newSender(t, route(url))
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	answer := s.Send(context.Background(), message())
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	wantClass(t, answer, webhook.ClassLocal)
	if !answer.Err.OurSide() {
		t.Error("it counts against the message")
	}
	if answer := s.Send(context.Background(), message()); answer.Status != 200 {
		t.Errorf("with descriptors again: %+v", answer)
	}
	<-got
}

//go:build unix

package webhook

import (
	"errors"
	"syscall"
)

// http1Works says that kept connections can be looked at before they are used.
const http1Works = true

// quiet says that nothing has come on an idle connection: neither its end nor bytes
// that nobody asked for.
func (w *wire) quiet() bool {
	var readErr error
	err := w.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, readErr = syscall.Read(int(fd), b[:])
		return true
	})
	return err == nil && errors.Is(readErr, syscall.EAGAIN)
}

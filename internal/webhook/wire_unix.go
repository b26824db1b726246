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
	if w.look == nil { // made once a connection: it would be made anew for each message
		w.look = func(fd uintptr) bool {
			var b [1]byte
			_, w.looked = syscall.Read(int(fd), b[:])
			return true
		}
	}
	return w.raw.Read(w.look) == nil && errors.Is(w.looked, syscall.EAGAIN)
}

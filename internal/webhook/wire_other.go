//go:build !unix

package webhook

// http1Works is false where idle connections cannot be looked at: net/http does it all.
const http1Works = false

func (w *wire) quiet() bool { return false }

package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// inlineBytes is the longest body that is copied beside its headers, and written
	// before its answer is looked for: the system takes as much in, whether or not the
	// receiver reads.
	inlineBytes = 8 << 10
	// alone is how long a longer one is written before somebody reads the answer
	// meanwhile: a receiver may answer before it has read all, and read no further. One
	// that reads is done by then, without a goroutine.
	alone = 5 * time.Millisecond
	// lateWrite is how long a receiver that answered early may take to read the rest
	// of the request, for its connection to be used again.
	lateWrite = 50 * time.Millisecond
)

// wire is one connection of an http1, and the body of the answer that comes on it.
type wire struct {
	way    *http1
	conn   net.Conn
	raw    syscall.RawConn
	look   func(fd uintptr) bool // of quiet, with what it found
	looked error
	in     *bufio.Reader // of source
	src    source
	out    bytes.Buffer // the request's headers, and a short body
	born   time.Time
	since  time.Time // it lies idle

	// Of the present exchange.
	stop    func() bool // ends heeding the caller's context
	sent    bool        // some of the request was written
	sending chan error  // gets the end of writing a long body; nil: there is none
	answer  *http.Response
	body    io.Reader
	ended   bool // the body was read to its end
}

func newWire(way *http1, conn net.Conn, end time.Time) (*wire, error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err == nil {
		err = conn.SetDeadline(end)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	w := &wire{way: way, conn: conn, raw: raw, src: source{conn: conn}, born: time.Now()}
	w.in = bufio.NewReader(&w.src)
	return w, nil
}

// interrupt ends whatever waits on the connection.
func (w *wire) interrupt() { _ = w.conn.SetDeadline(time.Unix(1, 0)) }

// source reads from a connection no more than left.
type source struct {
	conn net.Conn
	left int
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// exchange writes the request and reads the answer's headers. Whatever came of it, the
// wire's finish has to follow.
func (w *wire) exchange(ctx context.Context, header fields, body []byte, end time.Time) error {
	w.sent, w.ended = false, false
	w.stop = context.AfterFunc(ctx, w.interrupt)
	if err := w.write(ctx, header, body, end); err != nil {
		return err
	}
	return w.read()
}

func (w *wire) write(ctx context.Context, header fields, body []byte, end time.Time) error {
	w.out.Reset()
	w.out.Write(w.way.head)
	for _, f := range header {
		w.out.WriteString(f.name)
		w.out.WriteString(": ")
		w.out.WriteString(f.value)
		w.out.WriteString("\r\n")
	}
	w.out.WriteString("Content-Length: ")
	w.out.Write(strconv.AppendInt(w.out.AvailableBuffer(), int64(len(body)), 10))
	w.out.WriteString("\r\n\r\n")
	var err error
	if len(body) <= inlineBytes {
		w.out.Write(body)
		var n int
		n, err = w.conn.Write(w.out.Bytes())
		w.sent = n > 0
	} else {
		err = w.writeLong(ctx, body, end)
	}
	if w.sent && isBroken(err) {
		return nil // an answer may lie there to be read; reading says how it ended
	}
	return err
}

// writeLong writes the headers that are in out, and the body. What the receiver has not
// read soon is written on while the answer is waited for.
func (w *wire) writeLong(ctx context.Context, body []byte, end time.Time) error {
	soon := time.Now().Add(alone)
	if soon.Before(end) {
		_ = w.conn.SetWriteDeadline(soon) // it fails on a closed connection, and then the write does
	}
	rest := net.Buffers{w.out.Bytes(), body}
	n, err := rest.WriteTo(w.conn)
	w.sent = n > 0
	_ = w.conn.SetWriteDeadline(end)
	// The caller's interrupt came before that, and is seen here, or comes after it.
	if !errors.Is(err, os.ErrDeadlineExceeded) || !soon.Before(end) || ctx.Err() != nil {
		return err
	}
	w.sending = make(chan error, 1)
	go func() {
		_, err := rest.WriteTo(w.conn)
		w.sending <- err
	}()
	return nil
}

// isBroken says that a write found the connection ended by the other side.
func isBroken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// read reads the answer's headers, with those of the informational ones before it. That
// it is http.ReadResponse that reads lets an answer mean what it means to net/http.
func (w *wire) read() error {
	w.src.left = maxHeaderBytes
	for {
		resp, err := http.ReadResponse(w.in, nil) //nolint:bodyclose // whoever reads the answer closes it; those passed over have no body
		switch {
		case err != nil && w.src.left <= 0:
			return errHeaderTooLarge // a line that ends there is no line to ReadResponse
		case err != nil:
			return err
		}
		if resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		w.src.left = math.MaxInt // the caller bounds what it reads of the body
		w.answer, w.body = resp, resp.Body
		// After 101 the connection speaks something else.
		w.ended = resp.Body == http.NoBody && resp.StatusCode >= http.StatusOK
		resp.Body = w
		return nil
	}
}

// Read reads the answer's body.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if errors.Is(err, io.EOF) {
		w.ended = true
	}
	return n, err
}

// Close gives the connection back: for the next request when all of the answer and
// nothing else was read.
func (w *wire) Close() error {
	w.finish(w.ended && !w.answer.Close && w.in.Buffered() == 0)
	return nil
}

// finish ends the exchange. The connection is closed unless it can be used again.
func (w *wire) finish(again bool) {
	if w.sending != nil {
		if again {
			_ = w.conn.SetWriteDeadline(time.Now().Add(lateWrite))
		} else {
			_ = w.conn.Close()
		}
		again = <-w.sending == nil && again
		w.sending = nil
	}
	if !w.stop() {
		again = false // the caller's end may be about to be told to the connection
	}
	w.answer, w.body = nil, nil
	if again {
		w.way.keep(w)
	} else {
		_ = w.conn.Close()
	}
	<-w.way.places
}

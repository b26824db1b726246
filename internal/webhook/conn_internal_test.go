package webhook

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// brokenConn fails every write after the first good ones.
type brokenConn struct {
	net.Conn
	good int
	err  error
}

func (b *brokenConn) Write(p []byte) (int, error) {
	if b.good--; b.good < 0 {
		return 0, b.err
	}
	return len(p), nil
}

// The first write of a request tells its error, so that the request can go elsewhere; a
// later one leaves it to reading. No receiver can be made to fail a certain write.
func TestConnWrite(t *testing.T) {
	other := errors.New("other")
	for _, tt := range []struct {
		name string
		good int // writes of this request before the one that fails
		err  error
		want error
	}{
		{"first, reset", 0, syscall.ECONNRESET, syscall.ECONNRESET},
		{"first, broken pipe", 0, syscall.EPIPE, syscall.EPIPE},
		{"later, reset", 1, syscall.ECONNRESET, nil},
		{"later, broken pipe", 1, &net.OpError{Op: "write", Err: syscall.EPIPE}, nil},
		{"later, other", 1, other, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inner := &brokenConn{good: 1 + tt.good, err: tt.err}
			c := &conn{Conn: inner}
			if _, err := c.Write([]byte("the request before")); err != nil {
				t.Fatal(err)
			}
			begin(c)
			var err error
			for range tt.good + 1 {
				_, err = c.Write([]byte("x"))
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
		})
	}
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// receiver answers every request at next to no cost, and counts.
type receiver struct {
	count  atomic.Int64
	refuse atomic.Bool // 400 instead of 204

	mu   sync.Mutex
	late []time.Duration // of messages that bear when they were due
}

// lateness is how late the messages of a run were. A Go duration each.
type lateness struct{ P50, P99, P999, Last time.Duration }

// due begins the body of a message that says when it was to be sent, in nanoseconds
// since 1970, in dueDigits digits.
const (
	due       = "due:"
	dueDigits = 19
)

// receiverRole listens, says where, and answers questions about what came.
func receiverRole() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	r := &receiver{}
	go func() { // it ends with the process
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	fmt.Fprintf(os.Stdout, "http://%s/hook\n", ln.Addr())
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		fmt.Fprintln(os.Stdout, r.answer(questions.Text()))
	}
	return questions.Err()
}

func (r *receiver) answer(question string) string {
	switch question {
	case "count":
		return strconv.FormatInt(r.count.Load(), 10)
	case "reset":
		r.count.Store(0)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.late = r.late[:0]
	case "refuse", "accept":
		r.refuse.Store(question == "refuse")
	case "late":
		r.mu.Lock()
		defer r.mu.Unlock()
		b, err := json.Marshal(summary(r.late))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	return "ok"
}

// summary sorts what it is given.
func summary(late []time.Duration) lateness {
	if len(late) == 0 {
		return lateness{}
	}
	slices.Sort(late)
	at := func(share float64) time.Duration { return late[int(math.Ceil(share*float64(len(late))))-1] }
	return lateness{at(0.5), at(0.99), at(0.999), late[len(late)-1]}
}

// serve reads requests of a kept connection: their length, and when they were due.
func (r *receiver) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		length, err := readHead(in)
		if err != nil {
			return
		}
		if start, err := in.Peek(min(length, len(due)+dueDigits)); err == nil && bytes.HasPrefix(start, []byte(due)) {
			r.came(start[len(due):], time.Now())
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		r.count.Add(1)
		answer := "HTTP/1.1 204 No Content\r\n\r\n"
		if r.refuse.Load() {
			answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// readHead reads to the end of a request's head and returns its Content-Length.
func readHead(in *bufio.Reader) (length int, err error) {
	const name = "content-length:"
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			return length, nil
		}
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
}

func (r *receiver) came(dueAt []byte, now time.Time) {
	ns, err := strconv.ParseInt(string(dueAt), 10, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = append(r.late, now.Sub(time.Unix(0, ns)))
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"relay/dlqstore"
	"relay/internal/natsconn"
)

// streamName is the stream that is raced through; message i of it is on the subject
// bench.<i modulo the number of routes>.
const streamName = "BENCH"

// replayStream is relay's own, on which it has a consumer for each route.
const replayStream = dlqstore.ReplayStream

// suite is what all sections have in common: the server, the receiver and the report.
type suite struct {
	size           sizes
	report         *report
	log            io.Writer
	dir            string // of the NATS server and other files of the run
	keep           string // a folder for the profiles; empty: they go with the run
	nats, receiver *process
	natsURL, hook  string
	conn           *nats.Conn
	js             jetstream.JetStream
}

// newSuite starts the server and the receiver. The folder of its files is made in dir.
func newSuite(size sizes, dir string, out, log io.Writer) (*suite, error) {
	s := &suite{size: size, report: &report{out: out}, log: log}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *suite) open(dir string) (err error) {
	if s.dir, err = os.MkdirTemp(dir, "relay-bench-"); err != nil {
		return fmt.Errorf("make a folder for NATS's files: %w; give another with -dir", err)
	}
	if s.nats, s.natsURL, err = start("nats", s.dir); err != nil {
		return err
	}
	if s.receiver, s.hook, err = start("receiver", ""); err != nil {
		return err
	}
	if s.conn, err = nats.Connect(s.natsURL); err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", s.natsURL, err)
	}
	s.js, err = jetstream.New(s.conn)
	return err
}

func (s *suite) close() error {
	if s.conn != nil {
		s.conn.Close()
	}
	var errs []error
	for _, p := range []*process{s.receiver, s.nats} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// natsRole is a NATS server with JetStream on files, as it comes: written to the
// operating system at once, and to the disk every two minutes.
func natsRole(dir string) error {
	server, err := natsconn.StartEmbedded(natsconn.EmbeddedOptions{Dir: dir, Port: -1})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	fmt.Fprintln(os.Stdout, server.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (s *suite) run(ctx context.Context, chosen []string) error {
	began := time.Now()
	s.report.machine(filepath.Dir(s.dir))
	var errs []error // one section's trouble leaves the others be
	for _, section := range sections() {
		for _, name := range chosen {
			if section.name != name {
				continue
			}
			fmt.Fprintf(s.log, "%s %s\n", time.Now().Format(time.TimeOnly), name)
			if err := section.run(ctx, s); err != nil {
				s.report.paragraph("This section ended early.")
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	s.report.paragraph("The run took %s. Load average at its end: %s.", time.Since(began).Round(time.Second), loadAverage())
	return errors.Join(errs...)
}

// newStream makes the stream anew and fills it. It returns when all is stored.
func (s *suite) newStream(ctx context.Context, messages, size, routes int) error {
	if err := s.js.DeleteStream(ctx, streamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream of before: %w", err)
	}
	if _, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"bench.>"}, Storage: jetstream.FileStorage,
	}); err != nil {
		return fmt.Errorf("create the stream: %w", err)
	}
	// JSON, as most webhooks carry.
	payload := append(append([]byte(`{"a":"`), bytes.Repeat([]byte("x"), max(0, size-8))...), `"}`...)
	for i := range messages {
		if _, err := s.js.PublishAsync("bench."+strconv.Itoa(i%routes), payload); err != nil {
			return fmt.Errorf("fill the stream: %w", err)
		}
		if i%256 == 255 { // the client's limit is in messages, its memory in bytes
			if err := s.stored(ctx, s.js.PublishAsyncComplete()); err != nil {
				return err
			}
		}
	}
	return s.stored(ctx, s.js.PublishAsyncComplete())
}

func (s *suite) stored(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("fill the stream: not stored within a minute")
	}
}

// deliver starts one contestant on the stream as it is, with no consumer but its own.
func (s *suite) deliver(ctx context.Context, j job) (*process, error) {
	for _, stream := range []string{streamName, replayStream} {
		if err := s.deleteConsumers(ctx, stream); err != nil {
			return nil, err
		}
	}
	if _, err := s.receiver.ask("reset"); err != nil {
		return nil, err
	}
	j.NATS, j.Hook = s.natsURL, s.hook
	order, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	p, _, err := start("deliver", string(order))
	return p, err
}

func (s *suite) deleteConsumers(ctx context.Context, stream string) error {
	st, err := s.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	names := st.ConsumerNames(ctx)
	var all []string
	for name := range names.Name() {
		all = append(all, name)
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the consumers of stream %s: %w", stream, err)
	}
	for _, name := range all {
		if err := st.DeleteConsumer(ctx, name); err != nil {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
	}
	return nil
}

// patience bounds every wait for what has to happen.
const patience = 2 * time.Minute

// until polls cond every 5 ms until it is true, or the window is over.
func until(ctx context.Context, window time.Duration, cond func() (bool, error)) (met bool, err error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(window)
	for {
		if met, err = cond(); met || err != nil {
			return met, err
		}
		select {
		case <-tick.C:
		case <-end:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// must is until for what has to happen.
func must(ctx context.Context, what string, cond func() (bool, error)) error {
	met, err := until(ctx, patience, cond)
	if err != nil || met {
		return err
	}
	return fmt.Errorf("not within %s: %s", patience, what)
}

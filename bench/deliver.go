package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// job is the order of a delivering process.
type job struct {
	Contestant string
	NATS, Hook string
	Routes     int
	InFlight   int    // messages at once, on each route
	Profile    string // a folder to write profiles to; empty: none
	// Database makes relay project dead letters and replay them, as relay run does.
	Database string
	// ProjectOnly leaves the delivering away.
	ProjectOnly bool
}

// loop is a contestant that delivers.
type loop struct {
	// stop ends it and returns what went wrong while it ran.
	stop func() error
	// count is how many messages it is done with; nil: the receiver knows.
	count func() int64
}

// The contestants, in the order of the tables.
const (
	relayItself    = "relay"
	bareHTTP       = "bare loop, net/http"
	bareSigned     = "bare loop, net/http, signed like relay"
	bareFastHTTP   = "bare loop, fasthttp"
	consumeAck     = "JetStream consume + ack alone"
	watermillDocs  = "Watermill"
	watermillTuned = "Watermill, tuned"
)

func contestants() []string {
	return []string{relayItself, bareHTTP, bareSigned, bareFastHTTP, consumeAck, watermillDocs, watermillTuned}
}

func startLoop(ctx context.Context, j job) (loop, error) {
	switch j.Contestant {
	case relayItself:
		return startRelay(ctx, j)
	case bareHTTP:
		return startBare(ctx, j, newHTTPPost(j, nil))
	case bareSigned:
		return startBare(ctx, j, newHTTPPost(j, headersOfRelay()))
	case bareFastHTTP:
		return startBare(ctx, j, newFastHTTPPost(j))
	case consumeAck:
		return startConsumeAck(ctx, j)
	case watermillDocs:
		return startWatermill(ctx, j, false)
	case watermillTuned:
		return startWatermill(ctx, j, true)
	default:
		return loop{}, fmt.Errorf("no contestant %q", j.Contestant)
	}
}

// deliverRole delivers until stdin ends. It says "ready" when the contestant does.
func deliverRole(j job) error {
	stopProfile, err := startProfile(j.Profile)
	if err != nil {
		return err
	}
	l, err := startLoop(context.Background(), j)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "ready")
	questions := bufio.NewScanner(os.Stdin)
	for questions.Scan() {
		switch questions.Text() {
		case "count":
			fmt.Fprintln(os.Stdout, l.count())
		case "goroutines":
			fmt.Fprintln(os.Stdout, runtime.NumGoroutine())
		default:
			fmt.Fprintln(os.Stdout, "ok")
		}
	}
	return errors.Join(questions.Err(), l.stop(), stopProfile())
}

// startBare is what a person would write without relay: the client's Consume with its
// defaults, workers that post, an ack when post returns no error. The workers end with
// the process.
func startBare(ctx context.Context, j job, post func([]byte) error) (loop, error) {
	var failed firstError
	stop, err := consume(ctx, j, func() func(jetstream.Msg) {
		queue := make(chan jetstream.Msg)
		for range j.InFlight {
			go func() {
				for m := range queue {
					if err := post(m.Data()); err != nil {
						failed.set(err)
						continue
					}
					failed.set(m.Ack())
				}
			}()
		}
		return func(m jetstream.Msg) { queue <- m }
	})
	return loop{stop: func() error { return errors.Join(stop(), failed.get()) }}, err
}

// startConsumeAck acks what comes: how fast JetStream is with nothing behind it.
func startConsumeAck(ctx context.Context, j job) (loop, error) {
	var count atomic.Int64
	var failed firstError
	stop, err := consume(ctx, j, func() func(jetstream.Msg) {
		return func(m jetstream.Msg) {
			failed.set(m.Ack())
			count.Add(1)
		}
	})
	return loop{count: count.Load, stop: func() error { return errors.Join(stop(), failed.get()) }}, err
}

// consume binds a durable consumer to each route and hands its messages to what handle
// returns for it.
func consume(ctx context.Context, j job, handle func() func(jetstream.Msg)) (stop func() error, err error) {
	nc, err := nats.Connect(j.NATS)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	var consumers []jetstream.Consumer // all of them, before the first has a message
	for i := range j.Routes {
		c, err := js.CreateConsumer(ctx, streamName, jetstream.ConsumerConfig{
			Durable: "bare-" + strconv.Itoa(i), FilterSubject: "bench." + strconv.Itoa(i),
			AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
		})
		if err != nil {
			return nil, err
		}
		consumers = append(consumers, c)
	}
	var running []jetstream.ConsumeContext
	for _, c := range consumers {
		consuming, err := c.Consume(handle())
		if err != nil {
			return nil, err
		}
		running = append(running, consuming)
	}
	return func() error {
		for _, c := range running {
			c.Stop()
		}
		return nc.FlushTimeout(patience)
	}, nil
}

// firstError keeps the first error it is given.
type firstError struct{ p atomic.Pointer[error] }

func (f *firstError) set(err error) {
	if err != nil {
		f.p.CompareAndSwap(nil, &err)
	}
}

func (f *firstError) get() error {
	if p := f.p.Load(); p != nil {
		return *p
	}
	return nil
}

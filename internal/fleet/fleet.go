// Package fleet tells how the routes are doing in all relay processes of a NATS account
// together. Each process samples its own metrics and answers for itself as a micro
// service; each asks the others. Only cmd/relay makes a Fleet, only admin reads one.
package fleet

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What the processes speak on; dispatcher.Needs knows it too.
const (
	askSubject      = "relay.fleet.figures"
	attemptsSubject = "relay.fleet.attempts"
	answerSubject   = "relay.fleet.answers."
)

// Bounds and paces.
const (
	sampleEvery    = 10 * time.Second
	askEvery       = 2 * time.Second // while somebody looks
	lookedAt       = 30 * time.Second
	goneAfter      = 25 * time.Second // a process that does not answer is not there
	maxAnswerBytes = 32 << 20         // unpacked
	maxProcesses   = 256
)

// Options of a Fleet. Conn and Gatherer are required.
type Options struct {
	// Conn stays the caller's.
	Conn *nats.Conn
	// Gatherer has this process's metrics.
	Gatherer prometheus.Gatherer
	// Local remembers this process's attempts. Nil: it has none to tell of.
	Local Local
	// Instance names this process for people.
	Instance string
	// Version of this relay.
	Version string
	// Logger tells what keeps processes from hearing of each other. Nil: nothing is logged.
	Logger *slog.Logger
}

// Process is a relay process that answers.
type Process struct {
	Instance string    `json:"instance"`
	Version  string    `json:"version"`
	Since    time.Time `json:"since"`
}

// report is what a process says of itself.
type report struct {
	ID string `json:"id"`
	Process
	Bounds []float64        `json:"bounds"` // of the buckets, in seconds
	Routes map[string]route `json:"routes"`
	heard  time.Time
}

// Fleet is the processes that are there. It is safe for concurrent use.
type Fleet struct {
	o     Options
	log   *slog.Logger
	since time.Time

	mu     sync.Mutex
	own    sampler
	read   time.Time // when own last read the metrics
	id     string
	others map[string]report
	looked time.Time
}

// New makes a Fleet of this process alone; Run finds the others.
func New(o Options) *Fleet {
	return &Fleet{o: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), since: time.Now(), own: sampler{routes: map[string]*history{}}, others: map[string]report{}}
}

// Run samples, answers and asks until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	service, err := micro.AddService(f.o.Conn, micro.Config{
		Name: "relay", Version: semantic(f.o.Version), Description: "delivers JetStream messages to webhooks",
		Metadata: map[string]string{"instance": f.o.Instance, "version": f.o.Version},
	})
	if err != nil {
		return fmt.Errorf("answer for this process over NATS: %w", err)
	}
	defer service.Stop() //nolint:errcheck // the connection may have gone first
	f.mu.Lock()
	f.id = service.Info().ID
	f.mu.Unlock()
	for _, e := range []struct {
		name, subject string
		answer        micro.HandlerFunc
	}{{"figures", askSubject, f.tellFigures}, {"attempts", attemptsSubject, f.tellAttempts}} {
		err := service.AddEndpoint(e.name, e.answer, micro.WithEndpointSubject(e.subject), micro.WithEndpointQueueGroupDisabled())
		if err != nil {
			return fmt.Errorf("answer for this process over NATS: %w", err)
		}
	}
	inbox := answerSubject + f.id
	sub, err := f.o.Conn.Subscribe(inbox, f.hear)
	if err != nil {
		return fmt.Errorf("hear of other relay processes: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the same

	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	var sampled, asked time.Time
	for {
		now := time.Now()
		if now.Sub(sampled) >= sampleEvery {
			sampled = now
			f.gather(func(families []*dto.MetricFamily) { f.own.add(families, now) })
		}
		if f.somebodyLooks(now) || now.Sub(asked) >= sampleEvery {
			asked = now
			if err := f.o.Conn.PublishRequest(askSubject, inbox, nil); err != nil {
				f.log.Debug("other relay processes not asked", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

var semver = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// semantic is the version as micro services want one.
func semantic(version string) string {
	v, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	if semver.MatchString(v) {
		return v
	}
	return "0.0.0"
}

// gather reads this process's metrics and hands them over with mu held.
func (f *Fleet) gather(take func([]*dto.MetricFamily)) {
	families, err := f.o.Gatherer.Gather()
	if err != nil { // what could be gathered is there all the same
		f.log.Debug("metrics not gathered whole", "err", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	take(families)
	f.read = time.Now()
}

// refresh reads what this process's gauges say now, unless it has done so a moment ago.
// Counters wait for the next sample.
func (f *Fleet) refresh() {
	f.mu.Lock()
	recent := time.Since(f.read) < askEvery/2
	f.mu.Unlock()
	if !recent {
		f.gather(func(families []*dto.MetricFamily) { f.own.read(families) })
	}
}

func (f *Fleet) somebodyLooks(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, r := range f.others {
		if now.Sub(r.heard) > goneAfter {
			delete(f.others, id)
		}
	}
	return now.Sub(f.looked) < lookedAt
}

func (f *Fleet) tellFigures(req micro.Request) {
	f.mu.Lock()
	data, err := pack(f.report()) // which shares what the next sample changes
	f.mu.Unlock()
	f.respond(req, data, err)
}

func (f *Fleet) respond(req micro.Request, data []byte, err error) {
	if err == nil {
		err = req.Respond(data)
	}
	if err != nil {
		f.log.Warn("another relay process was not told of this one", "asked", req.Subject(), "err", err)
	}
}

func pack(v any) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	err := errors.Join(json.NewEncoder(z).Encode(v), z.Close())
	return b.Bytes(), err
}

// unpack reads what pack wrote, at most so many bytes of it.
func unpack(data []byte, most int64, v any) error {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return json.NewDecoder(io.LimitReader(z, most)).Decode(v)
}

// report is of this process; mu is held.
func (f *Fleet) report() report {
	own := report{
		ID: f.id, Process: f.process(), Bounds: f.own.bounds, Routes: f.own.report(), heard: time.Now(),
	}
	if f.o.Local != nil {
		for name, failure := range f.o.Local.Failures() {
			of := own.Routes[name]
			of.Failure = failure
			own.Routes[name] = of
		}
	}
	return own
}

// hear takes in what another process says, or this one.
func (f *Fleet) hear(m *nats.Msg) {
	var r report
	err := unpack(m.Data, maxAnswerBytes, &r)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err != nil || r.ID == "":
		f.log.Debug("the answer of a relay process cannot be read", "err", err)
	case r.ID == f.id || f.others[r.ID].ID == "" && len(f.others) >= maxProcesses:
	default:
		r.heard = time.Now()
		f.others[r.ID] = r
	}
}

// look returns the reports of the other processes, the eldest first, and has them asked
// often while somebody does so; mu is held.
func (f *Fleet) look() []report {
	f.looked = time.Now()
	return slices.SortedFunc(maps.Values(f.others), func(a, b report) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
}

func (f *Fleet) process() Process { return Process{f.o.Instance, f.o.Version, f.since} }

// Processes are those that are there: this one, then the others, the eldest first.
func (f *Fleet) Processes() []Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []Process{f.process()}
	for _, r := range f.look() {
		list = append(list, r.Process)
	}
	return list
}

// Lag is how many dead letters and attempts the database does not hold yet, as this
// process's projector last found.
func (f *Fleet) Lag() int {
	f.refresh()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.own.lag
}

// Figures are those of every route that some process has attempted anything on in the
// last hour, or remembers a failure of, over all processes.
func (f *Fleet) Figures() map[string]Figures {
	f.refresh()
	f.mu.Lock()
	defer f.mu.Unlock()
	sums := map[string]*sum{}
	bounds := f.own.bounds
	for _, r := range append(f.look(), f.report()) {
		for name, one := range r.Routes {
			if sums[name] == nil {
				sums[name] = &sum{}
			}
			sums[name].add(one, slices.Equal(r.Bounds, bounds))
		}
	}
	out := make(map[string]Figures, len(sums))
	for name, s := range sums {
		out[name] = s.figures(bounds)
	}
	return out
}

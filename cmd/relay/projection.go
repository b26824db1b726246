package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"relay/dlqstore"
)

// projection runs the projector, anew when a reload brings a dead-letter stream that
// it does not follow yet. Streams that no route names any more it follows on: there
// may be letters in them.
type projection struct {
	options dlqstore.ProjectorOptions
	more    chan struct{} // there are streams that the projector does not follow

	mu      sync.Mutex
	streams []string
}

func newProjection(o dlqstore.ProjectorOptions) *projection {
	return &projection{options: o, more: make(chan struct{}, 1), streams: o.Streams}
}

// Follow makes sure that the streams are projected. It does not wait for it.
func (p *projection) Follow(streams []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range streams {
		if slices.Contains(p.streams, name) {
			continue
		}
		p.streams = append(slices.Clone(p.streams), name)
		select {
		case p.more <- struct{}{}:
		default: // it has been told already
		}
	}
}

// Streams are the dead-letter streams that are projected.
func (p *projection) Streams() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.streams)
}

// Run projects until ctx ends.
func (p *projection) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := p.runUntilMore(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) runUntilMore(ctx context.Context) error {
	metrics := prometheus.NewRegistry()
	o := p.options
	o.Metrics = metrics
	p.mu.Lock()
	o.Streams = p.streams
	p.mu.Unlock()
	projector, err := dlqstore.NewProjector(o)
	if err != nil {
		return err
	}
	if err := p.options.Metrics.Register(metrics); err != nil {
		return fmt.Errorf("register the projector's metrics: %w", err)
	}
	defer p.options.Metrics.Unregister(metrics)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- projector.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-p.more:
		cancel()
		return <-ended
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
)

// profiles are what startProfile writes, as pprof names them, with the CPU's.
func profiles() []string { return []string{"cpu", "allocs", "block", "mutex"} }

// startProfile writes a process's profiles into a folder when stop is called. An empty
// folder: nothing happens.
func startProfile(dir string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(dir, "cpu"))
	if err != nil {
		return nil, err
	}
	runtime.SetBlockProfileRate(10_000) // one sample for each 10 µs blocked
	runtime.SetMutexProfileFraction(100)
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		errs := []error{f.Close()}
		for _, name := range profiles()[1:] {
			f, err := os.Create(filepath.Join(dir, name))
			if err != nil {
				return errors.Join(append(errs, err)...)
			}
			errs = append(errs, pprof.Lookup(name).WriteTo(f, 0), f.Close())
		}
		return errors.Join(errs...)
	}, nil
}

// profile runs relay and the bare loop once more and prints the top lines of where they
// spend what they take.
func profile(ctx context.Context, s *suite) error {
	c := cell{bytes: 1 << 10, routes: 1, inFlight: 64}
	long := *s
	long.size.window *= 3 // to the stream's end
	if err := s.newStream(ctx, s.messages(c), c.bytes, 1); err != nil {
		return err
	}
	s.report.title("Profiles")
	for _, name := range []string{relayItself, bareHTTP} {
		folder := strings.ReplaceAll(name, "/", "-")
		dir := filepath.Join(s.dir, "profile", folder)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if _, err := long.measure(ctx, c, job{Contestant: name, Profile: dir}); err != nil {
			return err
		}
		if s.keep != "" {
			if err := os.CopyFS(filepath.Join(s.keep, folder), os.DirFS(dir)); err != nil {
				return err
			}
		}
		for _, kind := range profiles() {
			top, err := topOf(ctx, filepath.Join(dir, kind))
			if err != nil {
				return err
			}
			s.report.paragraph("%s, %s, %s:\n\n```\n%s```", name, c, kind, top)
		}
	}
	return nil
}

// topOf is what `go tool pprof -top` says, without what it says of itself.
func topOf(ctx context.Context, file string) (string, error) {
	const lines = "14"
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount="+lines, file).Output() //nolint:gosec // our own file
	if err != nil {
		return "", fmt.Errorf("read the profile %s: %w", file, err)
	}
	_, table, _ := strings.Cut(string(out), "Showing nodes")
	_, table, _ = strings.Cut(table, "\n")
	return table, nil
}

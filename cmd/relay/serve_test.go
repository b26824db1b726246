package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"relay/dlqstore"
)

// starting is a store whose migration fails so for a while.
type starting struct {
	dlqstore.Store
	errs []error
}

func (s *starting) Migrate(context.Context) (err error) {
	if len(s.errs) > 0 {
		err, s.errs = s.errs[0], s.errs[1:]
	}
	return err
}

// Each reason for which the database is waited for is said, and said once.
func TestMigrateSaysWhatItWaitsFor(t *testing.T) {
	var out output
	refused, denied := errors.New("connection refused"), errors.New("permission denied for schema public")
	store := &starting{errs: []error{refused, refused, denied}}
	if err := migrate(t.Context(), store, settings{log: slog.New(slog.NewTextHandler(&out, nil))}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{"connection refused": 1, "permission denied": 1, "the database answers": 1} {
		if n := strings.Count(out.String(), what); n != want {
			t.Errorf("%q is said %d times, want %d:\n%s", what, n, want, out.String())
		}
	}
}

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"relay/dlqstore"
	"relay/routes"
)

// lookAtDatabase looks at the database, as the role that relay uses.
func (d *doctor) lookAtDatabase(ctx context.Context) {
	if d.database == "" {
		d.warn("database", "give --database, as to relay run", "not looked at")
		return
	}
	if path, ok := strings.CutPrefix(d.database, "sqlite:"); ok {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { // opening would make it
			d.ok("database", "%s is not there yet; relay run makes it", path)
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*lookTimeout)
	defer cancel()
	before := time.Now()
	s, err := dlqstore.Examine(ctx, d.database)
	if err != nil {
		d.fail("database", "the URL, the network or the server; deliveries go on without it, the page does not", "%v", err)
		return
	}
	switch {
	case s.Role == "":
		d.ok("database", "%s %s", s.Product, s.Version)
	case s.Super:
		d.warn("database", "docs/operations.md has the least that a role needs", "%s %s, and relay's role %q may do anything to it", s.Product, s.Version, s.Role)
	default:
		d.ok("database", "%s %s, as role %q", s.Product, s.Version, s.Role)
	}
	d.schema(s)
	for _, lack := range s.Lacks {
		d.fail("database", "GRANT "+lack+" TO "+s.Role, "the role lacks %s", lack)
	}
	if !s.Now.IsZero() {
		d.skew("the database", before, s.Now, time.Now())
	}
	d.retention(d.config)
}

func (d *doctor) schema(s dlqstore.Server) {
	current, known := s.Schema.Current, s.Schema.Known
	switch {
	case current > known:
		d.fail("schema", "run a relay as new as the one that migrated it", "version %d, and this relay knows %d", current, known)
	case current < known && !s.Creates:
		d.fail("schema", "let a role that may create tables run relay migrate up", "version %d of %d, and the role may not migrate it", current, known)
	case current < known:
		d.warn("schema", "relay migrate up, or start relay without --no-migrate", "version %d of %d", current, known)
	default:
		d.ok("schema", "version %d, the newest", current)
	}
}

// retention warns of dead letters that the table gives up before the stream does.
func (d *doctor) retention(c *routes.Config) {
	well := true
	for _, r := range c.Routes {
		if keep := r.DeadLetter.Retention; keep < 7*24*time.Hour {
			well = false
			d.warn("retention", "a longer dead_letter.retention, unless somebody looks every day",
				"route %q: the table forgets an open dead letter after %s", r.Name, keep)
		}
	}
	if well {
		d.ok("retention", "open dead letters are kept for a week or longer")
	}
}

// Package migrations holds the database schema of dlqstore: numbered, forward-only
// SQL files, one folder a dialect, in the form that goose reads. Only dlqstore
// imports it.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// Postgres returns the migrations for Postgres 13 and later.
func Postgres() fs.FS { return folder("postgres") }

// SQLite returns the migrations for SQLite 3.39 and later.
func SQLite() fs.FS { return folder("sqlite") }

func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic(fmt.Sprintf("migrations: embedded folder %s: %v", name, err)) // the name is a constant above
	}
	return sub
}

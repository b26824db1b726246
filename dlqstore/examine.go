package dlqstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pressly/goose/v3"
)

// ProjectorConsumer is the name of the projector's durable consumer, on each stream of
// dead letters and on that of attempts.
const ProjectorConsumer = projectorDurable

// Server tells of a database what a person who runs relay on it should know.
type Server struct {
	Product string // PostgreSQL or SQLite
	Version string
	Role    string    // that relay connects as; empty with SQLite
	Super   bool      // the role may do anything to the server
	Now     time.Time // by its clock; zero with SQLite, which has none of its own
	Schema  Schema
	// Creates says that the role may make tables, which migrations do.
	Creates bool
	// Lacks are what the role may not do and relay does, as in "UPDATE on dead_letters".
	// It is told only of tables that are there.
	Lacks []string
}

// Examine opens the database and looks at it. It changes nothing.
func Examine(ctx context.Context, databaseURL string) (Server, error) {
	opened, err := Open(ctx, databaseURL, OpenOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return Server{}, err
	}
	defer opened.Close()
	s, ok := opened.(*store)
	if !ok {
		return Server{}, errors.New("examine the database: it is none that Open makes")
	}
	var found Server
	if s.dialect.goose == goose.DialectSQLite3 {
		found.Product, found.Creates = "SQLite", true
		err = s.read.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&found.Version)
	} else {
		err = s.examinePostgres(ctx, &found)
	}
	if err == nil {
		found.Schema, err = s.Schema(ctx)
	}
	if err != nil {
		return found, fmt.Errorf("examine the database: %w", err)
	}
	return found, nil
}

func (s *store) examinePostgres(ctx context.Context, found *Server) error {
	found.Product = "PostgreSQL"
	const server = `SELECT current_setting('server_version'), current_user,
		(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), clock_timestamp(),
		coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)`
	err := s.read.QueryRowContext(ctx, server).Scan(&found.Version, &found.Role, &found.Super, &found.Now, &found.Creates)
	if err != nil {
		return err
	}
	// What docs/operations.md grants to the role of relay run --no-migrate.
	const lacks = `WITH needed (tables, privileges) AS (VALUES
			('{dead_letters,dead_letter_attempts,replay_jobs,replay_items}'::text[], '{SELECT,INSERT,UPDATE,DELETE}'::text[]),
			('{dead_letter_counts}', '{SELECT,INSERT,DELETE}'), ('{audit,quarantine}', '{SELECT,INSERT}'), ('{relay_schema}', '{SELECT}'))
		SELECT privilege || ' on ' || tablename
		FROM needed, unnest(tables) AS wanted, unnest(privileges) AS privilege, pg_tables
		WHERE schemaname = current_schema() AND tablename = wanted
			AND NOT has_table_privilege(format('%I.%I', schemaname, tablename), privilege)
		ORDER BY 1`
	rows, err := s.read.QueryContext(ctx, lacks)
	found.Lacks, err = collect(rows, err, scanString)
	return err
}

package dlqstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/pressly/goose/v3"
)

// OpenOptions are the settings of Open.
type OpenOptions struct {
	// Logger tells of what was quarantined. Nil: nothing is logged.
	Logger *slog.Logger
}

// Open makes a Store of postgres://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:PATH.
//
// Postgres is not contacted: Open succeeds while it is down, and the first method
// that needs it connects. Pool settings of pgxpool (pool_max_conns …) may stand in
// the URL's query. The SQLite file is created if need be, for its owner only; one
// process at a time may use it. The schema is not touched: that is Migrate.
//
// No error holds credentials of the URL. The caller closes the Store.
func Open(ctx context.Context, databaseURL string, o OpenOptions) (Store, error) {
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	scheme, rest, _ := strings.Cut(databaseURL, ":")
	switch scheme {
	case "postgres", "postgresql":
		return openPostgres(ctx, databaseURL, log)
	case "sqlite":
		return openSQLite(ctx, rest, log)
	default:
		return nil, errors.New("database URL: want postgres://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:PATH")
	}
}

// store is the Store over both databases. What both understand is written once, in
// the SQL that they share; the rest is in the dialect.
type store struct {
	write   *sql.DB // for transactions that change something
	read    *sql.DB
	dialect dialect
	log     *slog.Logger
	close   func()

	projected atomic.Int64 // batches, by this process
}

// dialect is what differs between Postgres and SQLite.
type dialect struct {
	goose      goose.Dialect
	migrations fs.FS
	options    []goose.ProviderOption

	// begin prepares every transaction that changes something.
	begin func(context.Context, *sql.Tx) error
	// lockProjection makes this transaction the only one that projects.
	lockProjection func(context.Context, *sql.Tx) error
	// upsertRows and insertAttempts are statements for insertMany, which takes the values
	// of at least one row.
	upsertRows, insertAttempts string
	insertMany                 func(ctx context.Context, tx *sql.Tx, statement string, rows [][]any) error
	// refused says that the database took offence at a value, so that trying again
	// is no use, while others may pass.
	refused func(error) bool

	// compactCounts adds up the counts of dead letters, and the hours before $1 to their
	// day.
	compactCounts []string

	countTables string // a query: how many tables have the name $1
	forUpdate   string // locks the rows that a SELECT returns
	// isOneOf is a format for a condition: the column is one of the strings of a JSON
	// list, which is the parameter of that number.
	isOneOf string
	// isOneChosen is a format for a condition: the column is one of those that a query
	// chooses, which is written there.
	isOneChosen string
	// newestOf is a query for the ids of what another one finds for each row of a table, of
	// which it may speak, the newest first. The other one has the columns failed_at and id.
	newestOf func(table, query string) string
	// elements is a format for a table: the elements of a JSON list, which is the
	// parameter of that number, in the column value.
	elements   string
	payloadHas string // a format too: the payload holds the bytes of the parameter
	like       string // the operator LIKE in any case
	// hasTextIndex is a query that prepares a transaction for a search by the index for
	// text. It says whether there is one that helps to find $1. Empty: there is none.
	hasTextIndex string
	// subjectToken is a format for the nth token of the subject, counted from 0.
	subjectToken func(n int) string
}

// schemaTable is where goose keeps the version. It is not goose's default, so that
// relay can live in a database that others migrate with goose too.
const schemaTable = "relay_schema"

func (s *store) Schema(ctx context.Context) (Schema, error) {
	p, err := s.provider()
	if err != nil {
		return Schema{}, err
	}
	sources := p.ListSources()
	schema := Schema{Known: sources[len(sources)-1].Version}
	var tables int
	err = s.read.QueryRowContext(ctx, s.dialect.countTables, schemaTable).Scan(&tables)
	if err == nil && tables > 0 {
		const newest = `SELECT max(version_id) FROM ` + schemaTable
		err = s.read.QueryRowContext(ctx, newest).Scan(&schema.Current)
	}
	if err != nil {
		return Schema{}, fmt.Errorf("read the schema's version: %w", err)
	}
	return schema, nil
}

func (s *store) Migrate(ctx context.Context) error {
	schema, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	if schema.Current > schema.Known {
		return fmt.Errorf("%w: it is at version %d, this relay knows %d; run a newer relay",
			ErrTooNew, schema.Current, schema.Known)
	}
	p, err := s.provider()
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database from version %d to %d: %w", schema.Current, schema.Known, err)
	}
	return nil
}

func (s *store) provider() (*goose.Provider, error) {
	options := append([]goose.ProviderOption{
		goose.WithTableName(schemaTable),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	}, s.dialect.options...)
	p, err := goose.NewProvider(s.dialect.goose, s.write, s.dialect.migrations, options...)
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

func (s *store) Ping(ctx context.Context) error {
	if err := s.read.PingContext(ctx); err != nil {
		return fmt.Errorf("ping the database: %w", err)
	}
	schema, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	if schema.Current < schema.Known {
		return fmt.Errorf("the database's schema is at version %d, this relay needs %d: run `relay migrate up`, or start relay without --no-migrate",
			schema.Current, schema.Known)
	}
	return nil
}

func (s *store) Close() { s.close() }

// inTx runs f in a transaction that changes something.
func (s *store) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err = s.dialect.begin(ctx, tx); err == nil {
		err = f(tx)
	}
	if err != nil {
		_ = tx.Rollback() // what f met tells more; an open transaction ends with its connection
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// withoutCredentials is a URL that may be shown.
func withoutCredentials(u *url.URL) string {
	bare := *u
	bare.User = nil
	q := bare.Query()
	for name := range q {
		if strings.Contains(name, "password") || name == "user" {
			q.Del(name)
		}
	}
	bare.RawQuery = q.Encode()
	return bare.String()
}

package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"relay/migrations"
)

// sqliteReaders is how many queries run at once beside the one writer.
const sqliteReaders = 4

func openSQLite(ctx context.Context, path string, log *slog.Logger) (Store, error) {
	if path == "" {
		return nil, errors.New("database URL: want sqlite:PATH, got no path")
	}
	// SQLite would create it readable for all; its -wal and -shm files take after it.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	write, err := sql.Open("sqlite", sqliteDSN(path, false))
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	read, err := sql.Open("sqlite", sqliteDSN(path, true))
	if err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("open database %q: %w", path, err)
	}
	read.SetMaxOpenConns(sqliteReaders)
	closeAll := func() {
		_ = read.Close()
		if err := write.Close(); err != nil {
			log.Warn("close the database", "err", err)
		}
	}
	return &store{write: write, read: read, dialect: sqliteDialect(), log: log, close: closeAll}, nil
}

func sqliteDSN(path string, readOnly bool) string {
	q := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
	}
	if readOnly {
		q.Add("_pragma", "query_only(ON)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func sqliteDialect() dialect {
	return dialect{
		goose:      goose.DialectSQLite3,
		migrations: migrations.SQLite(),
		// There is one writer: every transaction has the database for itself.
		begin:          nothing,
		lockProjection: nothing,
		upsertRows:     insertRow + onConflict,
		insertAttempts: insertSQLiteAttempts,
		insertMany:     insertEach,
		refused:        refusedBySQLite,
		compactCounts:  []string{addSQLiteHours, removeSQLiteHours},
		countTables:    `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`,
		isOneOf:        "%s IN (SELECT value FROM json_each($%d))",
		isOneChosen:    "%s IN (%s)",
		// A pair is the text of a JSON list, in whose order the time comes first.
		newestOf: func(table, query string) string {
			return `SELECT value ->> 1 FROM ` + table + `, json_each((SELECT json_group_array(json_array(failed_at, id)) FROM (` + query + `)))
				ORDER BY value DESC`
		},
		elements:   "json_each($%d)",
		payloadHas: "instr(payload, $%d) > 0",
		like:       "LIKE",
		// The subject as a JSON list of its tokens.
		subjectToken: func(n int) string {
			return fmt.Sprintf(`('[' || replace(json_quote(original_subject), '.', '","') || ']') ->> %d`, n)
		},
	}
}

func nothing(context.Context, *sql.Tx) error { return nil }

func refusedBySQLite(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff { // the rest of the code is detail
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return true
	default:
		return false
	}
}

const (
	addSQLiteHours = `INSERT INTO dead_letter_counts
		SELECT substr(bucket, 1, 10) || 'T00:00:00.000000Z' AS day, route, fingerprint, status, reason, state, sum(n)
		FROM dead_letter_counts WHERE bucket < $1 AND bucket NOT LIKE '%T00:%'
		GROUP BY day, route, fingerprint, status, reason, state
		ON CONFLICT DO UPDATE SET n = n + excluded.n`
	removeSQLiteHours = `DELETE FROM dead_letter_counts WHERE n = 0 OR bucket < $1 AND bucket NOT LIKE '%T00:%'`
)

const insertSQLiteAttempts = `INSERT INTO dead_letter_attempts (` + attemptColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
	ON CONFLICT DO NOTHING`

func insertEach(ctx context.Context, tx *sql.Tx, statement string, rows [][]any) error {
	stmt, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, r := range rows {
		if _, err := stmt.ExecContext(ctx, r...); err != nil {
			return err
		}
	}
	return nil
}

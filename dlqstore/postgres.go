package dlqstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"relay/migrations"
)

// connectTimeout bounds a connection attempt to a server that does not answer, where
// the URL says nothing else.
const connectTimeout = 10 * time.Second

func openPostgres(ctx context.Context, databaseURL string, log *slog.Logger) (Store, error) {
	config, err := parsePostgres(databaseURL)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	closeAll := func() {
		_ = db.Close() // it holds nothing itself
		pool.Close()
	}
	return &store{write: db, read: db, dialect: postgresDialect(), log: log, close: closeAll}, nil
}

// parsePostgres reads the URL. A parser's error may quote the URL with its password;
// it is shown only if the URL without its credentials gives one too.
func parsePostgres(databaseURL string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		u, parseErr := url.Parse(databaseURL)
		if parseErr != nil {
			return nil, errors.New("database URL: it cannot be parsed; percent-encode what is special in the user name and the password")
		}
		if _, err := pgxpool.ParseConfig(withoutCredentials(u)); err != nil {
			return nil, fmt.Errorf("database URL: %w", err)
		}
		return nil, errors.New("database URL: the user name or the password cannot be read; percent-encode what is special in them")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if _, set := config.ConnConfig.RuntimeParams["application_name"]; !set {
		config.ConnConfig.RuntimeParams["application_name"] = "relay"
	}
	return config, nil
}

func postgresDialect() dialect {
	return dialect{
		goose:          goose.DialectPostgres,
		migrations:     migrations.Postgres(),
		options:        []goose.ProviderOption{goose.WithSessionLocker(migrationLock{})},
		begin:          beginPostgres,
		lockProjection: lockPostgresProjection,
		upsertRows:     upsertPostgresRows,
		insertAttempts: insertPostgresAttempts,
		insertMany:     insertColumns,
		refused:        refusedByPostgres,
		compactCounts:  []string{compactPostgresCounts},
		countTables:    `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1`,
		forUpdate:      "FOR UPDATE",
		// As an array, so that the planner uses the index whatever it knows of the table.
		isOneOf:     "%s = ANY (ARRAY(SELECT jsonb_array_elements_text($%d::jsonb)))",
		isOneChosen: "%s = ANY (ARRAY(%s))",
		newestOf: func(table, query string) string {
			return `SELECT one.id FROM ` + table + ` CROSS JOIN LATERAL (` + query + `) AS one ORDER BY one.failed_at DESC, one.id DESC`
		},
		elements: "(SELECT jsonb_array_elements($%d::jsonb) AS value)",
		// The second half says nothing new; it is what the index for text knows.
		payloadHas: `position($%[1]d::bytea IN payload) > 0 AND encode(payload, 'escape') LIKE
			'%%' || regexp_replace(encode($%[1]d::bytea, 'escape'), '([\\%%_])', '\\\1', 'g') || '%%'`,
		like:         "ILIKE",
		hasTextIndex: hasPostgresTextIndex,
		subjectToken: func(n int) string {
			return fmt.Sprintf("split_part(original_subject, '.', %d)", n+1)
		},
	}
}

// hasPostgresTextIndex looks for the index that docs/operations.md tells how to make, and
// keeps the planner from reading the table instead. pg_trgm needs three letters or
// digits in a row.
const hasPostgresTextIndex = `SELECT set_config('enable_seqscan', 'off', true) = 'off' AND set_config('jit', 'off', true) = 'off'
	AND $1 ~ '[[:alnum:]]{3}'
	AND EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('dead_letters_text') AND indisvalid)`

// First keys of relay's advisory locks; the second is the schema, so that several
// relays in one database do not wait for each other.
const (
	lockMigrate = 0x72656c01
	lockProject = 0x72656c02
)

// migrationLock is held by the one session that migrates.
type migrationLock struct{}

func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	const lock = `SELECT pg_advisory_lock($1, hashtext(current_schema()))`
	_, err := conn.ExecContext(ctx, lock, lockMigrate)
	return err
}

func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	const unlock = `SELECT pg_advisory_unlock($1, hashtext(current_schema()))`
	_, err := conn.ExecContext(ctx, unlock, lockMigrate)
	return err
}

// beginPostgres makes a COMMIT mean that the change is on disk, also where the server
// was told not to wait for it (synchronous_commit off, as some hosters have it): the
// stream's messages are acked on the strength of it. A process that hangs in the
// transaction is cut off.
func beginPostgres(ctx context.Context, tx *sql.Tx) error {
	const settings = `SELECT set_config('idle_in_transaction_session_timeout', '60s', true),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit')
			WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)`
	_, err := tx.ExecContext(ctx, settings)
	return err
}

// lockPostgresProjection lets one transaction project at a time: one that writes dead
// letters and one that writes their attempts would not see each other's rows, and
// neither would join them.
func lockPostgresProjection(ctx context.Context, tx *sql.Tx) error {
	const lock = `SELECT pg_advisory_xact_lock($1, hashtext(current_schema()))`
	if _, err := tx.ExecContext(ctx, lock, lockProject); err != nil {
		return fmt.Errorf("lock the projection: %w", err)
	}
	return nil
}

// refusedByPostgres knows the classes data exception, integrity constraint violation
// and program limit exceeded (an index entry too long).
func refusedByPostgres(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return false
	}
	switch pg.Code[:2] {
	case "22", "23", "54":
		return true
	default:
		return false
	}
}

// Each parameter is a column of all rows.
const (
	upsertPostgresRows = `INSERT INTO dead_letters (` + rowColumns + `)
		SELECT id, route, state, reason, original_subject, payload, headers::jsonb, headers_exact, error, status,
			response, retry_count, consumer_name, stream, stream_sequence, published_at::timestamptz,
			failed_at::timestamptz, nullif(replay_of, ''), family, replay_count, died_in, changed_by,
			changed_at::timestamptz, error_class, cause, fingerprint
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::bytea[],
			$9::text[], $10::int[], $11::bytea[], $12::int[], $13::text[], $14::text[], $15::bigint[], $16::text[],
			$17::text[], $18::text[], $19::text[], $20::int[], $21::int[], $22::text[], $23::text[], $24::text[],
			$25::text[], $26::text[])
			AS r (` + rowColumns + `)` + onConflict
	insertPostgresAttempts = `INSERT INTO dead_letter_attempts (` + attemptColumns + `)
		SELECT id, replay, number, route, at::timestamptz, status, error, duration_ms, response_headers::jsonb, response,
			outcome, instance
		FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::text[], $6::int[], $7::text[],
			$8::double precision[], $9::text[], $10::bytea[], $11::text[], $12::text[])
			AS a (` + attemptColumns + `)
		ON CONFLICT DO NOTHING`
)

// insertColumns makes a parameter of each column.
func insertColumns(ctx context.Context, tx *sql.Tx, statement string, rows [][]any) error {
	columns := make([]any, len(rows[0]))
	for i := range columns {
		column := make([]any, len(rows))
		for n, r := range rows {
			column[n] = r[i]
		}
		columns[i] = column
	}
	_, err := tx.ExecContext(ctx, statement, columns...)
	return err
}

// compactPostgresCounts touches only what there is to add up. What others add meanwhile
// it does not see, and leaves.
const compactPostgresCounts = `WITH several AS (
		SELECT bucket, route, fingerprint, status, reason, state FROM dead_letter_counts
		GROUP BY bucket, route, fingerprint, status, reason, state
		HAVING count(*) > 1 OR sum(n) = 0 OR bucket < $1 AND bucket <> date_trunc('day', bucket, 'UTC')),
	removed AS (
		DELETE FROM dead_letter_counts AS c USING several AS s
		WHERE (c.bucket, c.route, c.fingerprint, c.status, c.reason, c.state) = (s.bucket, s.route, s.fingerprint, s.status, s.reason, s.state)
		RETURNING c.*)
	INSERT INTO dead_letter_counts
	SELECT date_trunc(CASE WHEN bucket < $1 THEN 'day' ELSE 'hour' END, bucket, 'UTC') AS larger, route, fingerprint, status, reason, state, sum(n)
	FROM removed GROUP BY larger, route, fingerprint, status, reason, state HAVING sum(n) <> 0`

-- +goose Up

-- Times are UTC text of one width with microseconds, so that their order as text is
-- their order in time.

CREATE TABLE dead_letters (
    id               TEXT    PRIMARY KEY,
    route            TEXT    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('dead', 'replaying', 'delivered', 'discarded')),
    reason           TEXT    NOT NULL CHECK (reason IN
        ('exhausted', 'expired', 'rejected', 'aborted', 'oversize', 'poison', 'blocked')),
    original_subject TEXT    NOT NULL,
    payload          BLOB    NOT NULL,
    original_data    TEXT    GENERATED ALWAYS AS
        (CASE WHEN json_valid(CAST(payload AS TEXT)) THEN CAST(payload AS TEXT) END) VIRTUAL,
    headers          TEXT    NOT NULL CHECK (json_valid(headers)),
    headers_exact    BLOB,             -- set when headers cannot hold them as they are
    error            TEXT    NOT NULL,
    status           INTEGER NOT NULL CHECK (status BETWEEN 0 AND 999), -- 0: no answer
    response         BLOB,
    retry_count      INTEGER NOT NULL CHECK (retry_count >= 0),
    consumer_name    TEXT    NOT NULL,
    stream           TEXT    NOT NULL,
    stream_sequence  INTEGER NOT NULL CHECK (stream_sequence >= 0),
    published_at     TEXT    NOT NULL,
    failed_at        TEXT    NOT NULL,
    replay_of        TEXT,             -- of an edited copy: what it is a copy of
    family           TEXT    NOT NULL, -- of an edited copy: its first original; else its own id
    replay_count     INTEGER NOT NULL CHECK (replay_count >= 0),
    died_in          INTEGER NOT NULL CHECK (died_in >= 0), -- the replay whose death is told here; 0: the first life
    replay_sent_at   TEXT,             -- when the replay lane took the last replay
    discard_reason   TEXT    NOT NULL DEFAULT '',
    changed_by       TEXT    NOT NULL DEFAULT '', -- who brought it into its state; empty: relay
    changed_at       TEXT    NOT NULL
) STRICT;

CREATE INDEX dead_letters_newest     ON dead_letters (failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_route   ON dead_letters (route, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_state   ON dead_letters (state, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_reason  ON dead_letters (reason, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_status  ON dead_letters (status, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_subject ON dead_letters (substr(original_subject, 1, 500));
CREATE INDEX dead_letters_by_family  ON dead_letters (family) WHERE replay_of IS NOT NULL;
CREATE INDEX dead_letters_outbox     ON dead_letters (changed_at) WHERE state = 'replaying' AND replay_sent_at IS NULL;

CREATE TABLE dead_letter_attempts (
    id               TEXT    NOT NULL, -- of the delivery; there may be no dead letter, or none yet
    replay           INTEGER NOT NULL CHECK (replay >= 0),
    number           INTEGER NOT NULL CHECK (number >= 1),
    route            TEXT    NOT NULL,
    at               TEXT    NOT NULL,
    status           INTEGER NOT NULL,
    error            TEXT    NOT NULL,
    duration_ms      REAL    NOT NULL,
    response_headers TEXT    NOT NULL CHECK (json_valid(response_headers)),
    response         BLOB,
    outcome          TEXT    NOT NULL CHECK (outcome IN ('ack', 'nak', 'term', 'drop')),
    instance         TEXT    NOT NULL,
    PRIMARY KEY (id, replay, number)
) STRICT;

CREATE INDEX dead_letter_attempts_by_age ON dead_letter_attempts (at);

-- Every change of a dead letter's state, and who asked for it.
CREATE TABLE audit (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             TEXT NOT NULL,
    actor          TEXT NOT NULL,
    source         TEXT NOT NULL,
    action         TEXT NOT NULL,
    dead_letter_id TEXT,          -- NULL when many were meant
    reason         TEXT NOT NULL,
    before_sha256  TEXT NOT NULL, -- of the payload; empty when it was not edited
    after_sha256   TEXT NOT NULL,
    detail         TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE INDEX audit_by_dead_letter ON audit (dead_letter_id, id);

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'table audit is append-only');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'table audit is append-only');
END;
-- +goose StatementEnd

-- Messages that could not become rows of the tables above, as they were.
CREATE TABLE quarantine (
    id              TEXT    PRIMARY KEY, -- a hash of what stands in the row
    at              TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    stream          TEXT    NOT NULL,
    stream_sequence INTEGER NOT NULL,
    subject         TEXT    NOT NULL,
    headers         TEXT    NOT NULL CHECK (json_valid(headers)),
    headers_exact   BLOB,
    data            BLOB    NOT NULL
) STRICT;

CREATE INDEX quarantine_newest ON quarantine (at DESC, id DESC);

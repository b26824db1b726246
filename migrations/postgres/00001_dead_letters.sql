-- +goose Up

-- relay_jsonb is the payload as jsonb, or NULL when it is none: not UTF-8, not JSON,
-- or JSON that jsonb cannot hold (\u0000, a lone surrogate, 1e400000).
-- +goose StatementBegin
CREATE FUNCTION relay_jsonb(payload bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(payload, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TABLE dead_letters (
    id               text COLLATE "C" PRIMARY KEY,
    route            text        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('dead', 'replaying', 'delivered', 'discarded')),
    reason           text        NOT NULL CHECK (reason IN
        ('exhausted', 'expired', 'rejected', 'aborted', 'oversize', 'poison', 'blocked')),
    original_subject text COLLATE "C" NOT NULL,
    payload          bytea       NOT NULL,
    original_data    jsonb GENERATED ALWAYS AS (relay_jsonb(payload)) STORED,
    headers          jsonb       NOT NULL,
    headers_exact    bytea,                -- set when jsonb cannot hold the headers as they are
    error            text        NOT NULL,
    status           integer     NOT NULL CHECK (status BETWEEN 0 AND 999), -- 0: no answer
    response         bytea,
    retry_count      integer     NOT NULL CHECK (retry_count >= 0),
    consumer_name    text        NOT NULL,
    stream           text        NOT NULL,
    stream_sequence  bigint      NOT NULL CHECK (stream_sequence >= 0),
    published_at     timestamptz NOT NULL,
    failed_at        timestamptz NOT NULL,
    replay_of        text COLLATE "C",     -- of an edited copy: what it is a copy of
    family           text COLLATE "C" NOT NULL, -- of an edited copy: its first original; else its own id
    replay_count     integer     NOT NULL CHECK (replay_count >= 0),
    died_in          integer     NOT NULL CHECK (died_in >= 0), -- the replay whose death is told here; 0: the first life
    replay_sent_at   timestamptz,          -- when the replay lane took the last replay
    discard_reason   text        NOT NULL DEFAULT '',
    changed_by       text        NOT NULL DEFAULT '', -- who brought it into its state; empty: relay
    changed_at       timestamptz NOT NULL
);

CREATE INDEX dead_letters_newest    ON dead_letters (failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_route  ON dead_letters (route, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_state  ON dead_letters (state, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_reason ON dead_letters (reason, failed_at DESC, id DESC);
CREATE INDEX dead_letters_by_status ON dead_letters (status, failed_at DESC, id DESC);
-- A subject may be longer than an index entry.
CREATE INDEX dead_letters_by_subject ON dead_letters (substr(original_subject, 1, 500));
CREATE INDEX dead_letters_by_family ON dead_letters (family) WHERE replay_of IS NOT NULL;
CREATE INDEX dead_letters_outbox ON dead_letters (changed_at) WHERE state = 'replaying' AND replay_sent_at IS NULL;

CREATE TABLE dead_letter_attempts (
    id               text COLLATE "C" NOT NULL, -- of the delivery; there may be no dead letter, or none yet
    replay           integer          NOT NULL CHECK (replay >= 0),
    number           integer          NOT NULL CHECK (number >= 1),
    route            text             NOT NULL,
    at               timestamptz      NOT NULL,
    status           integer          NOT NULL,
    error            text             NOT NULL,
    duration_ms      double precision NOT NULL,
    response_headers jsonb            NOT NULL,
    response         bytea,
    outcome          text             NOT NULL CHECK (outcome IN ('ack', 'nak', 'term', 'drop')),
    instance         text             NOT NULL,
    PRIMARY KEY (id, replay, number)
);

CREATE INDEX dead_letter_attempts_by_age ON dead_letter_attempts (at);

-- Every change of a dead letter's state, and who asked for it.
CREATE TABLE audit (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL,
    actor          text        NOT NULL,
    source         text        NOT NULL,
    action         text        NOT NULL,
    dead_letter_id text COLLATE "C",     -- NULL when many were meant
    reason         text        NOT NULL,
    before_sha256  text        NOT NULL, -- of the payload; empty when it was not edited
    after_sha256   text        NOT NULL,
    detail         jsonb       NOT NULL
);

CREATE INDEX audit_by_dead_letter ON audit (dead_letter_id, id);

-- +goose StatementBegin
CREATE FUNCTION relay_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION relay_append_only();

-- Messages that could not become rows of the tables above, as they were.
CREATE TABLE quarantine (
    id              text COLLATE "C" PRIMARY KEY, -- a hash of what stands in the row
    at              timestamptz NOT NULL,
    reason          text        NOT NULL,
    stream          text        NOT NULL,
    stream_sequence bigint      NOT NULL,
    subject         text        NOT NULL,
    headers         jsonb       NOT NULL,
    headers_exact   bytea,
    data            bytea       NOT NULL
);

CREATE INDEX quarantine_newest ON quarantine (at DESC, id DESC);

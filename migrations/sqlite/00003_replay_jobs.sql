-- +goose Up

-- Replays of many dead letters, as one job.
CREATE TABLE replay_jobs (
    number          INTEGER PRIMARY KEY AUTOINCREMENT, -- their order: of one route, one runs at a time
    id              TEXT    NOT NULL UNIQUE,
    state           TEXT    NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    note            TEXT    NOT NULL, -- why relay paused it; else empty
    filter          TEXT    NOT NULL CHECK (json_valid(filter)),
    routes          TEXT    NOT NULL CHECK (json_valid(routes)), -- of the dead letters that it holds
    rate_per_second REAL    NOT NULL CHECK (rate_per_second >= 0), -- 0: no limit
    ramp            INTEGER NOT NULL,
    stop_after      INTEGER NOT NULL CHECK (stop_after >= 0), -- new failures; 0: never
    failures_at     INTEGER NOT NULL, -- how many had failed when it was last started or resumed
    total           INTEGER NOT NULL,
    in_flight       INTEGER NOT NULL CHECK (in_flight >= 0), -- started, outcome not known yet
    delivered       INTEGER NOT NULL,
    failed          INTEGER NOT NULL, -- died again
    skipped         INTEGER NOT NULL, -- no longer dead when their turn came
    next_at         TEXT    NOT NULL, -- the rate allows the next one from then on
    paced_at        TEXT    NOT NULL, -- when it was last started or resumed
    paced_from      INTEGER NOT NULL, -- how many were done then
    created_at      TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_source  TEXT    NOT NULL,
    changed_at      TEXT    NOT NULL,
    changed_by      TEXT    NOT NULL, -- empty: relay
    finished_at     TEXT     -- when nothing of it could change any more
) STRICT;

CREATE INDEX replay_jobs_unfinished ON replay_jobs (number) WHERE finished_at IS NULL;

-- What a job's filter chose at its start.
CREATE TABLE replay_items (
    job            INTEGER NOT NULL REFERENCES replay_jobs (number) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    dead_letter_id TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('pending', 'sent', 'delivered', 'failed', 'skipped')),
    replay         INTEGER NOT NULL, -- of the dead letter, once it is sent
    PRIMARY KEY (job, position)
) STRICT;

CREATE INDEX replay_items_pending ON replay_items (job, position) WHERE state = 'pending';
CREATE INDEX replay_items_sent    ON replay_items (job, position) WHERE state = 'sent';

-- +goose Up

-- Replays of many dead letters, as one job.
CREATE TABLE replay_jobs (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- their order: of one route, one runs at a time
    id              text COLLATE "C" NOT NULL UNIQUE,
    state           text             NOT NULL CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    note            text             NOT NULL, -- why relay paused it; else empty
    filter          jsonb            NOT NULL,
    routes          jsonb            NOT NULL, -- of the dead letters that it holds
    rate_per_second double precision NOT NULL CHECK (rate_per_second >= 0), -- 0: no limit
    ramp            boolean          NOT NULL,
    stop_after      integer          NOT NULL CHECK (stop_after >= 0), -- new failures; 0: never
    failures_at     integer          NOT NULL, -- how many had failed when it was last started or resumed
    total           integer          NOT NULL,
    in_flight       integer          NOT NULL CHECK (in_flight >= 0), -- started, outcome not known yet
    delivered       integer          NOT NULL,
    failed          integer          NOT NULL, -- died again
    skipped         integer          NOT NULL, -- no longer dead when their turn came
    next_at         timestamptz      NOT NULL, -- the rate allows the next one from then on
    paced_at        timestamptz      NOT NULL, -- when it was last started or resumed
    paced_from      integer          NOT NULL, -- how many were done then
    created_at      timestamptz      NOT NULL,
    created_by      text             NOT NULL,
    created_source  text             NOT NULL,
    changed_at      timestamptz      NOT NULL,
    changed_by      text             NOT NULL, -- empty: relay
    finished_at     timestamptz      -- when nothing of it could change any more
);

CREATE INDEX replay_jobs_unfinished ON replay_jobs (number) WHERE finished_at IS NULL;

-- What a job's filter chose at its start.
CREATE TABLE replay_items (
    job            bigint           NOT NULL REFERENCES replay_jobs (number) ON DELETE CASCADE,
    position       integer          NOT NULL,
    dead_letter_id text COLLATE "C" NOT NULL,
    state          text             NOT NULL CHECK (state IN ('pending', 'sent', 'delivered', 'failed', 'skipped')),
    replay         integer          NOT NULL, -- of the dead letter, once it is sent
    PRIMARY KEY (job, position)
);

CREATE INDEX replay_items_pending ON replay_items (job, position) WHERE state = 'pending';
CREATE INDEX replay_items_sent    ON replay_items (job, position) WHERE state = 'sent';

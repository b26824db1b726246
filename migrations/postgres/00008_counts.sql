-- +goose Up

-- How many dead letters of a kind there are, as a bag of changes: the sum of n is right
-- at any time, and no change waits for another's row. relay adds up what is of one
-- kind now and then, and the hours of days gone by to their day.
CREATE TABLE dead_letter_counts (
    bucket      timestamptz      NOT NULL, -- the hour of failed_at, or its day (UTC)
    route       text             NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    status      integer          NOT NULL,
    reason      text             NOT NULL,
    state       text             NOT NULL,
    n           bigint           NOT NULL
);

CREATE INDEX dead_letter_counts_newest ON dead_letter_counts (bucket);

-- +goose StatementBegin
CREATE FUNCTION relay_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO dead_letter_counts
        SELECT date_trunc('hour', failed_at, 'UTC') AS bucket, route, fingerprint, status, reason, state, count(*)
        FROM added GROUP BY bucket, route, fingerprint, status, reason, state;
    WHEN 'UPDATE' THEN
        INSERT INTO dead_letter_counts
        SELECT date_trunc('hour', failed_at, 'UTC') AS bucket, route, fingerprint, status, reason, state, sum(n)
        FROM (SELECT failed_at, route, fingerprint, status, reason, state, 1 AS n FROM added
            UNION ALL SELECT failed_at, route, fingerprint, status, reason, state, -1 FROM removed) AS changed
        GROUP BY bucket, route, fingerprint, status, reason, state HAVING sum(n) <> 0;
    WHEN 'DELETE' THEN
        INSERT INTO dead_letter_counts
        SELECT date_trunc('hour', failed_at, 'UTC') AS bucket, route, fingerprint, status, reason, state, -count(*)
        FROM removed GROUP BY bucket, route, fingerprint, status, reason, state;
    ELSE -- TRUNCATE
        DELETE FROM dead_letter_counts;
    END CASE;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER dead_letters_inserted AFTER INSERT ON dead_letters
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION relay_count();
CREATE TRIGGER dead_letters_updated AFTER UPDATE ON dead_letters
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION relay_count();
CREATE TRIGGER dead_letters_deleted AFTER DELETE ON dead_letters
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION relay_count();
CREATE TRIGGER dead_letters_truncated AFTER TRUNCATE ON dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION relay_count();

-- The triggers keep others from writing until this transaction ends.
INSERT INTO dead_letter_counts
SELECT date_trunc(CASE WHEN failed_at < now() - interval '72 hours' THEN 'day' ELSE 'hour' END, failed_at, 'UTC') AS bucket,
    route, fingerprint, status, reason, state, count(*)
FROM dead_letters GROUP BY bucket, route, fingerprint, status, reason, state;

-- The newest and the oldest of a group are found in each state.
DROP INDEX dead_letters_by_cause;
CREATE INDEX dead_letters_by_cause ON dead_letters (route, fingerprint, state, failed_at DESC, id DESC);

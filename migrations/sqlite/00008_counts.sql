-- +goose Up

-- How many dead letters of a kind there are. relay adds the hours of days gone by to
-- their day now and then.
CREATE TABLE dead_letter_counts (
    bucket      TEXT    NOT NULL, -- the hour of failed_at, or its day (UTC)
    route       TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    status      INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    n           INTEGER NOT NULL,
    PRIMARY KEY (bucket, route, fingerprint, status, reason, state)
) STRICT, WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER dead_letters_inserted AFTER INSERT ON dead_letters BEGIN
    INSERT INTO dead_letter_counts
    VALUES (substr(NEW.failed_at, 1, 13) || ':00:00.000000Z', NEW.route, NEW.fingerprint, NEW.status, NEW.reason, NEW.state, 1)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letters_updated AFTER UPDATE OF failed_at, route, fingerprint, status, reason, state ON dead_letters BEGIN
    INSERT INTO dead_letter_counts
    VALUES (substr(OLD.failed_at, 1, 13) || ':00:00.000000Z', OLD.route, OLD.fingerprint, OLD.status, OLD.reason, OLD.state, -1),
        (substr(NEW.failed_at, 1, 13) || ':00:00.000000Z', NEW.route, NEW.fingerprint, NEW.status, NEW.reason, NEW.state, 1)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letters_deleted AFTER DELETE ON dead_letters BEGIN
    INSERT INTO dead_letter_counts
    VALUES (substr(OLD.failed_at, 1, 13) || ':00:00.000000Z', OLD.route, OLD.fingerprint, OLD.status, OLD.reason, OLD.state, -1)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
-- +goose StatementEnd

INSERT INTO dead_letter_counts
SELECT substr(failed_at, 1, 13) || ':00:00.000000Z' AS bucket, route, fingerprint, status, reason, state, count(*)
FROM dead_letters GROUP BY bucket, route, fingerprint, status, reason, state;

-- The newest and the oldest of a group are found in each state.
DROP INDEX dead_letters_by_cause;
CREATE INDEX dead_letters_by_cause ON dead_letters (route, fingerprint, state, failed_at DESC, id DESC);

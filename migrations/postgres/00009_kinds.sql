-- +goose Up

-- A kind is what dead_letter_counts tells apart. All dead letters that filters by several
-- columns have in common are found by their kinds, each in the order of time.
CREATE INDEX dead_letters_by_kind ON dead_letters (route, fingerprint, status, reason, state, failed_at DESC, id DESC);
DROP INDEX dead_letters_by_cause;
DROP INDEX dead_letters_by_fingerprint;
DROP INDEX dead_letters_by_reason;
DROP INDEX dead_letters_by_status;

-- +goose Up

-- What killed a delivery, in a form that is the same for all that died of it. Empty in
-- rows from before; they get one when they die again.
ALTER TABLE dead_letters ADD COLUMN error_class TEXT NOT NULL DEFAULT ''; -- 5xx, timeout_headers, dns …
ALTER TABLE dead_letters ADD COLUMN cause       TEXT NOT NULL DEFAULT ''; -- the error without ids, numbers and quoted strings
ALTER TABLE dead_letters ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''; -- a hash of both and of the status

CREATE INDEX dead_letters_by_cause ON dead_letters (route, fingerprint, failed_at DESC, id DESC, state);
CREATE INDEX dead_letters_by_fingerprint ON dead_letters (fingerprint, failed_at DESC, id DESC);

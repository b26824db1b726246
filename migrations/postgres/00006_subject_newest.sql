-- +goose Up

-- A list by subject is read from the index in its order.
DROP INDEX dead_letters_by_subject;
CREATE INDEX dead_letters_by_subject ON dead_letters (substr(original_subject, 1, 500), failed_at DESC, id DESC);

-- +goose Up

-- For the pruning of what is settled.
CREATE INDEX dead_letters_settled ON dead_letters (changed_at) WHERE state IN ('delivered', 'discarded');
CREATE INDEX replay_jobs_finished ON replay_jobs (finished_at);

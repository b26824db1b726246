-- +goose Up

-- For replays of which nothing was heard since the lane took them.
CREATE INDEX dead_letters_sent ON dead_letters (route, replay_sent_at) WHERE state = 'replaying' AND replay_sent_at IS NOT NULL;

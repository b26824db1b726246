-- +goose Up

-- Of the dead letter, or of all that a replay job holds. Empty in rows from before, and
-- where several routes are meant.
ALTER TABLE audit ADD COLUMN route TEXT NOT NULL DEFAULT '';

CREATE INDEX audit_newest    ON audit (at, id);
CREATE INDEX audit_by_actor  ON audit (actor, at, id);
CREATE INDEX audit_by_action ON audit (action, at, id);
CREATE INDEX audit_by_route  ON audit (route, at, id);
DROP INDEX audit_by_dead_letter;
CREATE INDEX audit_by_dead_letter ON audit (dead_letter_id, at, id) WHERE dead_letter_id IS NOT NULL;

-- What a job holds is listed by state, and each step of it takes the next of a state.
DROP INDEX replay_items_pending;
DROP INDEX replay_items_sent;
CREATE INDEX replay_items_by_state ON replay_items (job, state, position);

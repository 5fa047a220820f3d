-- How the last attempt ended, since the delivery was last taken by a replay.
ALTER TABLE deliveries ADD COLUMN last_outcome INTEGER;
-- The replay that took or made it last.
ALTER TABLE deliveries ADD COLUMN replay INTEGER;

UPDATE deliveries SET last_outcome = (SELECT outcome FROM attempts WHERE delivery_row = deliveries.row
                                      ORDER BY rowid DESC LIMIT 1)
WHERE state <> 2;
UPDATE deliveries SET last_outcome = 0 WHERE state = 2;

-- Events that have not been delivered to all they matched.
CREATE INDEX deliveries_undelivered ON deliveries (application_id, event_row) WHERE state IN (0, 1, 3, 5);
CREATE INDEX deliveries_replayed ON deliveries (replay, state, last_outcome) WHERE replay IS NOT NULL;

-- Jobs that deliver again. cursor: the id of the last delivery or event that was taken.
CREATE TABLE replays (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    application_id BLOB NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    filter TEXT NOT NULL,
    per_second INTEGER,
    state TEXT NOT NULL,
    cursor BLOB NOT NULL,
    total INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE UNIQUE INDEX replays_by_application ON replays (application_id, id);

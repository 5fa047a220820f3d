-- What the events of each application take: how many there are, and the bytes of the payloads
-- that are kept. Counted in the transactions that store events and let go of them. An
-- application that never had an event may have no row.
CREATE TABLE usage (
    application_id BLOB PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO usage (application_id, events, bytes)
SELECT application_id, count(*), sum(length(payload)) FROM events GROUP BY application_id;

CREATE TRIGGER usage_of_application AFTER DELETE ON applications BEGIN
    DELETE FROM usage WHERE application_id = old.id;
END;

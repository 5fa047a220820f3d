-- A change is written down before it is made (outcome 0: nobody knows what became of it) and
-- completed when it has been (1). What an application did outlives it, so nothing refers to it.
CREATE TABLE audit (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    resource_id TEXT,
    application_id BLOB,
    request_id TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    before TEXT,
    after TEXT
) STRICT;

CREATE INDEX audit_by_application ON audit (application_id, id);
CREATE INDEX audit_by_time ON audit (at);

-- Inbound endpoints for third parties. settings: what is not secret, as JSON. sealed: the secrets that
-- verify requests, sealed under the data key as one document.
CREATE TABLE sources (
    id BLOB PRIMARY KEY,
    application_id BLOB NOT NULL REFERENCES applications (id),
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (application_id, name)
) STRICT, WITHOUT ROWID;

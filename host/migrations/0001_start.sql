-- Times are milliseconds since 1970-01-01 UTC, ids the 16 bytes of a UUIDv7, documents JSON text.

CREATE TABLE applications (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id BLOB PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Facts about this installation, such as the key its compiled plugins are signed with.
CREATE TABLE installation (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event_types (
    name TEXT PRIMARY KEY,
    description TEXT,
    mode TEXT NOT NULL,
    violations INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE schemas (
    event_type TEXT NOT NULL REFERENCES event_types (name) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    schema TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (event_type, version)
) STRICT;

CREATE TABLE components (
    sha256 BLOB PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- owner is an application's id, or empty for plugins every application shares.
CREATE TABLE plugins (
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 BLOB NOT NULL REFERENCES components (sha256),
    kind TEXT NOT NULL,
    size INTEGER NOT NULL,
    interface TEXT NOT NULL,
    manifest TEXT NOT NULL,
    live INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner, name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
    id BLOB PRIMARY KEY,
    application_id BLOB NOT NULL REFERENCES applications (id),
    description TEXT,
    endpoint TEXT NOT NULL,
    event_types TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    headers TEXT NOT NULL,
    retry TEXT,
    concurrency INTEGER,
    state TEXT NOT NULL,
    secrets TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Resolved pipelines, each distinct one once.
CREATE TABLE pipelines (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    steps TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    application_id BLOB NOT NULL,
    type TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    subject TEXT,
    producer_id TEXT,
    occurred_at INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    violations TEXT,
    payload BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_by_application ON events (application_id, id);
CREATE INDEX events_violating ON events (application_id, id) WHERE violations IS NOT NULL;

CREATE TABLE idempotency (
    application_id BLOB NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    event_id BLOB NOT NULL,
    schema_version INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (application_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

-- state: 0 pending, 1 delivering, 2 succeeded, 3 dead, 4 filtered, 5 held, 6 cancelled.
-- owner and lease_until say who holds a delivering one.
CREATE TABLE deliveries (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    application_id BLOB NOT NULL,
    event_row INTEGER NOT NULL,
    subscription_id BLOB NOT NULL,
    pipeline_id INTEGER,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    reason TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE UNIQUE INDEX deliveries_by_application ON deliveries (application_id, id);
CREATE INDEX deliveries_by_subscription ON deliveries (subscription_id, id);
CREATE INDEX deliveries_by_event ON deliveries (event_row);
CREATE INDEX deliveries_due ON deliveries (subscription_id, due_at) WHERE state < 2;
CREATE INDEX deliveries_dead ON deliveries (application_id, id) WHERE state = 3;
CREATE INDEX deliveries_held ON deliveries (subscription_id) WHERE state = 5;

CREATE TABLE attempts (
    delivery_row INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    response_body TEXT,
    first_byte_us INTEGER,
    total_us INTEGER NOT NULL
) STRICT;

CREATE INDEX attempts_by_delivery ON attempts (delivery_row);

-- What a pipeline made of an event, once for all subscriptions that share it.
-- kind: 0 send, 1 drop, 2 fail. A null body is the event's payload.
CREATE TABLE runs (
    event_row INTEGER NOT NULL,
    pipeline_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    reason TEXT,
    on_error TEXT,
    content_type TEXT,
    headers TEXT,
    body BLOB,
    steps TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX runs_by_event ON runs (event_row, pipeline_id);

-- The JSON Schema that what a subscription sends must satisfy.
ALTER TABLE subscriptions ADD COLUMN output_schema TEXT;
ALTER TABLE pipelines ADD COLUMN contract TEXT;

-- What was done to plugins. owner as in plugins.
CREATE TABLE plugin_history (
    row INTEGER PRIMARY KEY,
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    from_version TEXT,
    to_version TEXT,
    actor TEXT NOT NULL,
    forced INTEGER NOT NULL,
    note TEXT,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX plugin_history_by_plugin ON plugin_history (owner, name, row);

-- Candidates tried on live events, at most one for each plugin.
CREATE TABLE rollouts (
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    rollout TEXT NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

-- Versions out of service, for the subscriptions of one application.
CREATE TABLE quarantines (
    application_id BLOB NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    sha256 BLOB NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (application_id, sha256)
) STRICT, WITHOUT ROWID;

-- The last failures of each version, for its author.
CREATE TABLE plugin_failures (
    row INTEGER PRIMARY KEY,
    application_id BLOB NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    event_id BLOB NOT NULL,
    config TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    backtrace TEXT NOT NULL,
    log TEXT NOT NULL,
    fuel INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX plugin_failures_by_version ON plugin_failures (application_id, sha256, row);

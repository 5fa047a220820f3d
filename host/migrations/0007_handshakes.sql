-- How endpoints answered when they were asked whether deliveries may be sent.
CREATE TABLE handshakes (
    subscription_id BLOB PRIMARY KEY REFERENCES subscriptions (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    origin TEXT NOT NULL,
    at INTEGER NOT NULL,
    rate INTEGER,
    refused TEXT,
    waiting INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

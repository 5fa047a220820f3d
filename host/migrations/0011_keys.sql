-- application_id is null for the platform's own keys, which are all there were before.
ALTER TABLE api_keys ADD COLUMN name TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE api_keys ADD COLUMN application_id BLOB REFERENCES applications (id) ON DELETE CASCADE;
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '["read","publish","manage"]';
ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE api_keys ADD COLUMN revoked_at INTEGER;

CREATE INDEX api_keys_by_application ON api_keys (application_id);

-- Portal tokens are not stored. Those of an older epoch than their application's are void.
CREATE TABLE portal_epochs (
    application_id BLOB PRIMARY KEY REFERENCES applications (id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

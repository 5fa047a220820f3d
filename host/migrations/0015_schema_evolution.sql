-- What a new version of the schema must be to the last, and when types and versions end.
ALTER TABLE event_types ADD COLUMN compatibility TEXT NOT NULL DEFAULT 'none';
ALTER TABLE event_types ADD COLUMN deprecated_at INTEGER;
ALTER TABLE event_types ADD COLUMN sunset_at INTEGER;
ALTER TABLE event_types ADD COLUMN archived_at INTEGER;
ALTER TABLE schemas ADD COLUMN deprecated_at INTEGER;
ALTER TABLE schemas ADD COLUMN sunset_at INTEGER;

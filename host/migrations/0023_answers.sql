-- What requests under an Idempotency-Key were answered. A row is there before its request is
-- carried out; while it has no answer, nobody knows what came of it. `id` is a hash of who asked and
-- the key, `scope` the application it was for, or empty for the platform.
CREATE TABLE answers (
    id BLOB NOT NULL PRIMARY KEY,
    scope BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    sealed BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_scope ON answers (scope);
CREATE INDEX answers_by_end ON answers (expires_at);

CREATE TRIGGER answers_of_application AFTER DELETE ON applications BEGIN
    DELETE FROM answers WHERE scope = old.id;
END;

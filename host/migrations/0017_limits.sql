-- What the operator allows one application, one event type or one key. What is not here is
-- the server's default. An application goes by its id, the others by their names.
CREATE TABLE limits (
    kind TEXT NOT NULL CHECK (kind IN ('application', 'event-type', 'key')),
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- A name that is used again does not get the limits of what had it before.
CREATE TRIGGER limits_of_event_type AFTER DELETE ON event_types BEGIN
    DELETE FROM limits WHERE kind = 'event-type' AND name = old.name;
END;

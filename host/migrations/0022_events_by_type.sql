-- One type's events may be few among many.
CREATE INDEX events_by_type ON events (application_id, type, id);

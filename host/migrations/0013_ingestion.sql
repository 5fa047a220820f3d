-- What kinds of payload an event type takes, and what kind an event's is. None is JSON, which
-- nearly all are. `context` is what an event says of itself as a CloudEvent.
ALTER TABLE event_types ADD COLUMN content_types TEXT NOT NULL DEFAULT '["application/json"]';
ALTER TABLE events ADD COLUMN content_type TEXT;
ALTER TABLE events ADD COLUMN context TEXT;

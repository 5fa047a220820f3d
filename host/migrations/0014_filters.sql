-- What narrows down the events of a subscription: a list of channels, and a filter as it was given.
ALTER TABLE subscriptions ADD COLUMN channels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE subscriptions ADD COLUMN filter TEXT;
-- The channels an event was published on, as a list; NULL for none.
ALTER TABLE events ADD COLUMN channels TEXT;

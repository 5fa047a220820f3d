-- What a file that declares a subscription calls it. NULL for those nobody named.
ALTER TABLE subscriptions ADD COLUMN name TEXT;
CREATE UNIQUE INDEX subscription_names ON subscriptions (application_id, name) WHERE name IS NOT NULL;

-- How a subscription's deliveries are made, as one document.
ALTER TABLE subscriptions ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';
UPDATE subscriptions SET policy = json_patch('{}', json_object('retry', json(retry), 'concurrency', concurrency));
ALTER TABLE subscriptions DROP COLUMN retry;
ALTER TABLE subscriptions DROP COLUMN concurrency;

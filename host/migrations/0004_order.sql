-- What a delivery has in common with older ones of its subscription that must be over before
-- it is due; null if it waits for none. One that waits is due at the end of time.
ALTER TABLE deliveries ADD COLUMN order_key INTEGER;
CREATE INDEX deliveries_in_order ON deliveries (subscription_id, order_key)
    WHERE order_key IS NOT NULL AND (state < 2 OR state = 5);

-- Subscriptions whose endpoints have failed for a while without a success.
CREATE TABLE failing (
    subscription_id BLOB PRIMARY KEY REFERENCES subscriptions (id) ON DELETE CASCADE,
    since INTEGER NOT NULL,
    attempts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

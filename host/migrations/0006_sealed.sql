-- Secrets sealed under the data key, as one document. The column `secrets` with its clear text goes
-- when its rows are sealed, which the server does at its next start: it takes a key to do it.
ALTER TABLE subscriptions ADD COLUMN sealed BLOB;

-- How long the parts of making a connection took; null where there was none to make.
ALTER TABLE attempts ADD COLUMN dns_us INTEGER;
ALTER TABLE attempts ADD COLUMN connect_us INTEGER;
ALTER TABLE attempts ADD COLUMN tls_us INTEGER;

-- Where in a distributed trace an event was accepted: its traceparent and tracestate.
ALTER TABLE events ADD COLUMN traceparent TEXT;
ALTER TABLE events ADD COLUMN tracestate TEXT;

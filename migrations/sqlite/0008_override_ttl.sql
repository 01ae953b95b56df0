-- An override that was set for a duration keeps it, in microseconds: the wall clock has no say in when it ends. Empty: it
-- ends at its time of the wall clock, or when it is cleared.

ALTER TABLE breaker ADD COLUMN override_ttl_us INTEGER;

ALTER TABLE service_override ADD COLUMN ttl_us INTEGER;

-- An override that was set for a duration keeps it: the wall clock has no say in when it ends.

ALTER TABLE breaker ADD COLUMN override_ttl_us bigint;
COMMENT ON COLUMN breaker.override_ttl_us IS 'Override set for a duration: how long, in microseconds; empty: it ends at override_expires_at by the wall clock, or when it is cleared.';

ALTER TABLE service_override ADD COLUMN ttl_us bigint;
COMMENT ON COLUMN service_override.ttl_us IS 'Override set for a duration: how long, in microseconds; empty: it ends at expires_at by the wall clock, or when it is cleared.';

-- What an operator does to a breaker while the store is away is written later than it was done.

ALTER TABLE audit ADD COLUMN occurred_at timestamptz;
COMMENT ON COLUMN audit.occurred_at IS 'When it was done; empty: when it was written.';

CREATE OR REPLACE VIEW changes AS
SELECT
    coalesce(occurred_at, recorded_at) AS at,
    actor,
    reason AS why,
    kind,
    service,
    name,
    before,
    after,
    revision,
    number
FROM audit;
COMMENT ON COLUMN changes.at IS 'When it was done. While the store is away it is written later: ORDER BY revision, number.';

-- What an operator does to a breaker while the store does not take writes is written later than it was done: occurred_at_us
-- is when it was done; empty: when it was written.

ALTER TABLE audit ADD COLUMN occurred_at_us INTEGER;

DROP VIEW changes;
CREATE VIEW changes AS
SELECT
    strftime('%Y-%m-%d %H:%M:%f', coalesce(occurred_at_us, recorded_at_us) / 1e6, 'unixepoch') AS at,
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

-- What the journal's writer pays for each transition.

-- JSON that breakerd writes and reads whole: to take it apart into jsonb cost more than the rest of the row's update.
ALTER TABLE breaker RENAME COLUMN episode TO episode_before;
ALTER TABLE breaker ADD COLUMN episode text;
UPDATE breaker SET episode = episode_before::text WHERE episode_before IS NOT NULL;
COMMENT ON COLUMN breaker.episode IS 'The outage that lasts, as far as it has come, as JSON; its times and durations in microseconds; a number that is 0 is left out. Empty: none, or its opening is not known.';

CREATE OR REPLACE VIEW episodes AS
SELECT
    service,
    name,
    opened_at,
    half_open_at,
    closed_at,
    round(lasted_us / 1000000.0, 3) AS seconds,
    reason,
    error_class,
    caller,
    failure_rate,
    slow_call_rate,
    rejected_calls,
    reopened,
    probes,
    actor,
    why,
    ended_by,
    missing,
    epoch
FROM episode
UNION ALL
SELECT
    service,
    name,
    'epoch'::timestamptz + (outage ->> 'opened_at_us')::bigint * interval '1 microsecond',
    'epoch'::timestamptz + (outage ->> 'half_open_at_us')::bigint * interval '1 microsecond',
    NULL,
    round(coalesce((outage ->> 'lasted_us')::bigint, 0) / 1000000.0 + greatest(extract(epoch FROM now() - entered_at), 0)::numeric, 3),
    outage ->> 'reason',
    outage ->> 'error_class',
    outage ->> 'caller',
    round(coalesce((outage ->> 'failures')::bigint, 0) * 100000 / nullif((outage ->> 'calls')::bigint, 0) / 1000.0, 3),
    round(coalesce((outage ->> 'slow_calls')::bigint, 0) * 100000 / nullif((outage ->> 'calls')::bigint, 0) / 1000.0, 3),
    coalesce((outage ->> 'rejected_calls')::bigint, 0),
    coalesce((outage ->> 'reopened')::bigint, 0),
    coalesce((outage ->> 'probes')::bigint, 0),
    outage ->> 'actor',
    outage ->> 'why',
    NULL,
    coalesce((outage ->> 'missing')::bigint, 0),
    (outage ->> 'epoch')::bigint
FROM breaker CROSS JOIN LATERAL CAST(episode AS json) AS outage
WHERE episode IS NOT NULL;

ALTER TABLE breaker DROP COLUMN episode_before;
ALTER TABLE breaker ALTER COLUMN entered_by TYPE text USING entered_by::text;

-- The view works out the rates.
CREATE OR REPLACE VIEW history AS
SELECT
    occurred_at AS at,
    service,
    name,
    from_state,
    to_state,
    reason,
    CASE
        WHEN missing > 0 THEN 'gap'
        WHEN shadow THEN 'shadow'
        WHEN superseded_by IS NOT NULL THEN 'superseded'
        ELSE 'change'
    END AS kind,
    epoch,
    round(lasted_us / 1000000.0, 3) AS lasted_s,
    calls,
    failures,
    round(failures * 100000 / nullif(calls, 0) / 1000.0, 3) AS failure_rate,
    slow_calls,
    round(slow_calls * 100000 / nullif(calls, 0) / 1000.0, 3) AS slow_call_rate,
    consecutive_failures,
    consecutive_successes,
    reporters,
    error_class,
    caller,
    rejected_calls,
    attempts,
    round(wait_us / 1000000.0, 3) AS wait_s,
    actor,
    override_reason AS why,
    missing,
    shadow,
    alone,
    superseded_by,
    replica,
    config_revision,
    recorded_at,
    round(extract(epoch FROM recorded_at - occurred_at)::numeric, 3) AS late_s,
    revision,
    number
FROM transition;
ALTER TABLE transition DROP COLUMN failure_rate, DROP COLUMN slow_call_rate;

-- A regular expression for each row.
ALTER TABLE transition DROP CONSTRAINT transition_boot_check;
ALTER TABLE transition ADD CONSTRAINT transition_boot_check CHECK (length(boot) = 16);

-- A row for a range of ids that follow each other, 1,000 at most, instead of one for each.
CREATE TABLE receipt_new (
    replica     text        NOT NULL,
    boot        text        NOT NULL,
    first_seq   bigint      NOT NULL,
    last_seq    bigint      NOT NULL,
    epochs      text        NOT NULL,
    revision    bigint,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (replica, boot, first_seq)
);
INSERT INTO receipt_new (replica, boot, first_seq, last_seq, epochs, revision, recorded_at)
SELECT replica, boot, min(seq), max(seq), json_agg(epoch ORDER BY seq)::text, revision, max(recorded_at)
FROM (SELECT *, seq - row_number() OVER (PARTITION BY replica, boot, revision ORDER BY seq) AS island FROM receipt) AS numbered
GROUP BY replica, boot, revision, island, seq / 1000;
DROP TABLE receipt;
ALTER TABLE receipt_new RENAME TO receipt;
ALTER TABLE receipt RENAME CONSTRAINT receipt_new_pkey TO receipt_pkey;
CREATE INDEX receipt_recorded_at ON receipt USING brin (recorded_at);
COMMENT ON TABLE receipt IS 'What each change was answered: asked again, it gets the same answer and nothing is written twice. A row for a range of changes.';
COMMENT ON COLUMN receipt.replica IS 'The ids of the changes, as in transition.';
COMMENT ON COLUMN receipt.boot IS 'The ids of the changes, as in transition.';
COMMENT ON COLUMN receipt.first_seq IS 'The first of the range.';
COMMENT ON COLUMN receipt.last_seq IS 'The last of the range, at most 999 after the first.';
COMMENT ON COLUMN receipt.epochs IS 'JSON, an item for each change in order: it won, under this epoch; null: it lost.';
COMMENT ON COLUMN receipt.revision IS 'The transaction that took them in; empty: one that changed nothing.';
COMMENT ON COLUMN receipt.recorded_at IS 'When they were answered first.';

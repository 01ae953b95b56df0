-- Outages and the time in OPEN are kept as they end, in tables of their own: the questions of docs/sql.md would else go
-- through the whole history. src/store/episode.rs says what counts as what.

ALTER TABLE transition ADD COLUMN lasted_us bigint CHECK (lasted_us >= 0);
ALTER TABLE transition ADD COLUMN rejected_calls bigint NOT NULL DEFAULT 0;
ALTER TABLE transition ADD COLUMN error_class text;
ALTER TABLE transition ADD COLUMN caller text;
COMMENT ON COLUMN transition.lasted_us IS 'How long the state that was left had lasted, in microseconds, by a clock that nobody sets (across a restart by the wall clock); empty: not known, or no state was left.';
COMMENT ON COLUMN transition.rejected_calls IS 'Calls rejected in the state that was left, since it was entered or since the last restart in it.';
COMMENT ON COLUMN transition.error_class IS 'The error class of the outcome that caused it; empty: it had none, or no outcome caused it.';
COMMENT ON COLUMN transition.caller IS 'Who reported that outcome, by their own word; empty: nobody said.';

-- What is known of rows that are there already. From here on breakerd says it.
UPDATE transition SET lasted_us = known.lasted_us
FROM (
    SELECT revision, number, recorded_at,
           CASE WHEN lag(epoch) OVER breaker = base_epoch
               THEN greatest(0, round(extract(epoch FROM occurred_at - lag(occurred_at) OVER breaker) * 1000000))::bigint
           END AS lasted_us
    FROM transition
    WHERE epoch IS NOT NULL AND isfinite(occurred_at)
    WINDOW breaker AS (PARTITION BY service, name ORDER BY revision, number)
) AS known
WHERE transition.revision = known.revision AND transition.number = known.number
  AND transition.recorded_at = known.recorded_at AND known.lasted_us IS NOT NULL;

CREATE TABLE episode (
    revision       bigint      NOT NULL,
    number         bigint      NOT NULL CHECK (number >= 0),
    service        text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    epoch          bigint      NOT NULL,
    opened_at      timestamptz NOT NULL,
    half_open_at   timestamptz,
    closed_at      timestamptz,
    lasted_us      bigint      CHECK (lasted_us >= 0),
    reason         text        NOT NULL,
    actor          text,
    why            text,
    failure_rate   numeric,
    slow_call_rate numeric,
    error_class    text,
    caller         text,
    reopened       bigint      NOT NULL,
    probes         bigint      NOT NULL,
    rejected_calls bigint      NOT NULL,
    missing        bigint      NOT NULL,
    ended_by       text        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (revision, number)
);
CREATE INDEX episode_breaker ON episode (service, name, revision, number);
CREATE INDEX episode_recorded_at ON episode USING brin (recorded_at);
COMMENT ON TABLE episode IS 'A row for each outage that has ended, written with the row of transition that ended it. One that lasts stands in breaker.episode. Look at the view episodes.';
COMMENT ON COLUMN episode.revision IS 'The transaction that ended it; with number, the row of transition.';
COMMENT ON COLUMN episode.number IS 'The number of that row within the transaction.';
COMMENT ON COLUMN episode.service IS 'The breaker''s service.';
COMMENT ON COLUMN episode.name IS 'The breaker''s name.';
COMMENT ON COLUMN episode.epoch IS 'The epoch that it began with: one of service and name.';
COMMENT ON COLUMN episode.opened_at IS 'When it opened.';
COMMENT ON COLUMN episode.half_open_at IS 'When it was first HALF_OPEN; empty: never.';
COMMENT ON COLUMN episode.closed_at IS 'When it ended; empty: among rows that are missing.';
COMMENT ON COLUMN episode.lasted_us IS 'How long it was, in microseconds; empty: it ended among rows that are missing.';
COMMENT ON COLUMN episode.reason IS 'The reason it opened; HISTORY_GAP: the opening is among rows that are missing.';
COMMENT ON COLUMN episode.actor IS 'Who opened it by hand; empty: breakerd itself.';
COMMENT ON COLUMN episode.why IS 'Opened by hand: why, in the actor''s words.';
COMMENT ON COLUMN episode.failure_rate IS 'Percent of the calls when it opened; empty without a call.';
COMMENT ON COLUMN episode.slow_call_rate IS 'Percent of the calls when it opened; empty without a call.';
COMMENT ON COLUMN episode.error_class IS 'The error class of the outcome that opened it; empty: it had none.';
COMMENT ON COLUMN episode.caller IS 'Who reported that outcome, by their own word; empty: nobody said.';
COMMENT ON COLUMN episode.reopened IS 'How often its probes opened it again.';
COMMENT ON COLUMN episode.probes IS 'Probes that completed.';
COMMENT ON COLUMN episode.rejected_calls IS 'Calls rejected, as far as no restart came between.';
COMMENT ON COLUMN episode.missing IS 'Rows of the history that are missing within: where it is not 0, the other figures may be too low.';
COMMENT ON COLUMN episode.ended_by IS 'The reason it ended; HISTORY_GAP: it ended among rows that are missing.';
COMMENT ON COLUMN episode.recorded_at IS 'When the row of transition was written.';

CREATE TABLE open_time (
    day      date   NOT NULL,
    service  text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    open_us  bigint NOT NULL CHECK (open_us >= 0),
    openings bigint NOT NULL CHECK (openings >= 0),
    PRIMARY KEY (day, service, name)
);
COMMENT ON TABLE open_time IS 'How long each breaker was OPEN or FORCED_OPEN on a day in UTC, of states that were left. The present state stands in breaker. Look at the view time_open_by_day.';
COMMENT ON COLUMN open_time.day IS 'The day, in UTC.';
COMMENT ON COLUMN open_time.service IS 'The breaker''s service.';
COMMENT ON COLUMN open_time.name IS 'The breaker''s name.';
COMMENT ON COLUMN open_time.open_us IS 'Microseconds in OPEN or FORCED_OPEN.';
COMMENT ON COLUMN open_time.openings IS 'How often it entered OPEN or FORCED_OPEN on that day.';

ALTER TABLE breaker ADD COLUMN episode jsonb;
COMMENT ON COLUMN breaker.episode IS 'The outage that lasts, as far as it has come; its times and durations in microseconds. Empty: none, or its opening is not known.';

-- The outages of the history that is there, as the view episodes had them until now.
CREATE TEMPORARY TABLE outage ON COMMIT DROP AS
WITH step AS (
    SELECT *,
        CASE
            WHEN missing > 0 THEN 'gap'
            WHEN from_state IN ('CLOSED', 'DISABLED', 'METRICS_ONLY') THEN
                CASE WHEN to_state IN ('OPEN', 'FORCED_OPEN') THEN 'opens' ELSE 'end unseen' END
            WHEN to_state IN ('CLOSED', 'DISABLED', 'METRICS_ONLY') THEN 'ends'
            ELSE 'goes on'
        END AS part
    FROM transition
    WHERE epoch IS NOT NULL OR missing > 0
),
numbered AS (
    SELECT *, count(*) FILTER (WHERE part = 'opens') OVER (PARTITION BY service, name ORDER BY revision, number) AS nth
    FROM step
),
bounded AS (
    SELECT *,
        count(*) FILTER (WHERE part IN ('ends', 'end unseen')) OVER (
            PARTITION BY service, name, nth ORDER BY revision, number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ends_before,
        max(nth) OVER (PARTITION BY service, name) AS newest
    FROM numbered
)
SELECT
    max(revision) AS revision,
    (max(ARRAY[revision, number]))[2] AS number,
    max(recorded_at) AS recorded_at,
    service,
    name,
    max(occurred_at) FILTER (WHERE part = 'opens') AS opened_at,
    min(occurred_at) FILTER (WHERE part = 'goes on' AND to_state = 'HALF_OPEN') AS half_open_at,
    max(occurred_at) FILTER (WHERE part = 'ends') AS closed_at,
    coalesce(sum(lasted_us) FILTER (WHERE part IN ('ends', 'goes on')), 0)::bigint AS lasted_us,
    max(reason) FILTER (WHERE part = 'opens') AS reason,
    max(actor) FILTER (WHERE part = 'opens') AS actor,
    max(override_reason) FILTER (WHERE part = 'opens') AS why,
    max(failure_rate) FILTER (WHERE part = 'opens') AS failure_rate,
    max(slow_call_rate) FILTER (WHERE part = 'opens') AS slow_call_rate,
    max(calls) FILTER (WHERE part = 'opens') AS calls,
    max(failures) FILTER (WHERE part = 'opens') AS failures,
    max(slow_calls) FILTER (WHERE part = 'opens') AS slow_calls,
    count(*) FILTER (WHERE from_state = 'HALF_OPEN' AND to_state = 'OPEN') AS reopened,
    coalesce(sum(calls) FILTER (WHERE from_state = 'HALF_OPEN'), 0)::bigint AS probes,
    sum(missing)::bigint AS missing,
    max(epoch) FILTER (WHERE part = 'opens') AS epoch,
    coalesce(
        max(reason) FILTER (WHERE part = 'ends'),
        CASE WHEN bool_or(part = 'end unseen') OR nth < max(newest) THEN 'HISTORY_GAP' END
    ) AS ended_by
FROM bounded
WHERE nth > 0 AND ends_before = 0
GROUP BY service, name, nth;

INSERT INTO episode (revision, number, service, name, epoch, opened_at, half_open_at, closed_at, lasted_us, reason, actor,
                     why, failure_rate, slow_call_rate, reopened, probes, rejected_calls, missing, ended_by, recorded_at)
SELECT revision, number, service, name, epoch, opened_at, half_open_at, closed_at,
       CASE WHEN closed_at IS NOT NULL THEN lasted_us END, reason, actor, why, failure_rate, slow_call_rate, reopened,
       probes, 0, missing, ended_by, recorded_at
FROM outage
WHERE ended_by IS NOT NULL;

UPDATE breaker SET episode = jsonb_build_object(
    'epoch', outage.epoch,
    'opened_at_us', (extract(epoch FROM opened_at) * 1000000)::bigint,
    'half_open_at_us', (extract(epoch FROM half_open_at) * 1000000)::bigint,
    'lasted_us', lasted_us,
    'reason', reason,
    'actor', actor,
    'why', why,
    'calls', calls,
    'failures', failures,
    'slow_calls', slow_calls,
    'reopened', reopened,
    'probes', probes,
    'rejected_calls', 0,
    'missing', missing
)
FROM outage
WHERE outage.service = breaker.service AND outage.name = breaker.name AND ended_by IS NULL AND isfinite(opened_at)
  AND state IN ('OPEN', 'HALF_OPEN', 'FORCED_OPEN');

INSERT INTO open_time (day, service, name, open_us, openings)
SELECT midnight::date, service, name,
       sum(extract(epoch FROM least(until, midnight + interval '1 day') - greatest(since, midnight)) * 1000000)::bigint,
       count(*) FILTER (WHERE since >= midnight)
FROM (
    SELECT service, name, since, greatest(until, since) AS until
    FROM (
        SELECT service, name, epoch, to_state, missing, occurred_at AT TIME ZONE 'UTC' AS since,
               lead(occurred_at) OVER (PARTITION BY service, name ORDER BY revision, number) AT TIME ZONE 'UTC' AS until
        FROM transition
        WHERE (epoch IS NOT NULL OR missing > 0) AND isfinite(occurred_at)
    ) AS step
    WHERE to_state IN ('OPEN', 'FORCED_OPEN') AND missing = 0 AND until IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM breaker
        WHERE breaker.service = step.service AND breaker.name = step.name AND breaker.epoch = step.epoch
    )
) AS stretch
CROSS JOIN LATERAL generate_series(
    date_trunc('day', since), greatest(until - interval '1 microsecond', since), interval '1 day'
) AS midnight
GROUP BY midnight, service, name;

DROP VIEW transitions_with_change, episodes, time_open_by_day, changes, history;

CREATE VIEW history AS
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
    failure_rate,
    slow_calls,
    slow_call_rate,
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

CREATE VIEW changes AS
SELECT
    recorded_at AS at,
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

CREATE VIEW episodes AS
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
    'epoch'::timestamptz + (episode ->> 'opened_at_us')::bigint * interval '1 microsecond',
    'epoch'::timestamptz + (episode ->> 'half_open_at_us')::bigint * interval '1 microsecond',
    NULL,
    round((episode ->> 'lasted_us')::bigint / 1000000.0 + greatest(extract(epoch FROM now() - entered_at), 0)::numeric, 3),
    episode ->> 'reason',
    episode ->> 'error_class',
    episode ->> 'caller',
    round((episode ->> 'failures')::bigint * 100000 / nullif((episode ->> 'calls')::bigint, 0) / 1000.0, 3),
    round((episode ->> 'slow_calls')::bigint * 100000 / nullif((episode ->> 'calls')::bigint, 0) / 1000.0, 3),
    (episode ->> 'rejected_calls')::bigint,
    (episode ->> 'reopened')::bigint,
    (episode ->> 'probes')::bigint,
    episode ->> 'actor',
    episode ->> 'why',
    NULL,
    (episode ->> 'missing')::bigint,
    (episode ->> 'epoch')::bigint
FROM breaker
WHERE episode IS NOT NULL;

CREATE VIEW time_open_by_day AS
SELECT
    service,
    name,
    day,
    round(sum(open_us) / 1000000.0, 3) AS seconds,
    sum(openings)::bigint AS openings
FROM (
    SELECT service, name, day, open_us, openings FROM open_time
    UNION ALL
    SELECT service, name, midnight::date,
           (extract(epoch FROM least(until, midnight + interval '1 day') - greatest(since, midnight)) * 1000000)::bigint,
           CASE WHEN since >= midnight THEN 1 ELSE 0 END
    FROM (
        SELECT service, name, entered_at AT TIME ZONE 'UTC' AS since,
               greatest(now(), entered_at) AT TIME ZONE 'UTC' AS until
        FROM breaker
        WHERE state IN ('OPEN', 'FORCED_OPEN') AND isfinite(entered_at)
    ) AS present
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', since), greatest(until - interval '1 microsecond', since), interval '1 day'
    ) AS midnight
) AS piece
GROUP BY day, service, name;

CREATE VIEW overrides AS
SELECT
    service,
    name,
    state,
    override_scope AS scope,
    override_actor AS actor,
    override_reason AS why,
    entered_at AS since,
    override_expires_at AS expires_at
FROM breaker
WHERE override_scope = 'BREAKER' AND state IN ('FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')
    AND (override_expires_at IS NULL OR override_expires_at > now())
UNION ALL
SELECT service, NULL, kind, 'SERVICE', actor, reason, set_at, expires_at
FROM service_override
WHERE expires_at IS NULL OR expires_at > now();

-- A change of configuration is the only row of the audit of its revision: number 0. The newest is looked for as the last
-- key before (service, revision), since the planner would else walk the whole audit back by its primary key for a service
-- that was never changed.
CREATE VIEW transitions_with_change AS
SELECT
    history.*,
    audit.recorded_at AS change_at,
    audit.kind AS change_kind,
    audit.actor AS change_actor,
    audit.reason AS change_why,
    round(extract(epoch FROM history.at - audit.recorded_at)::numeric, 3) AS seconds_after_change,
    audit.revision AS change_revision
FROM history
LEFT JOIN audit ON audit.number = 0 AND audit.revision = greatest(
    (
        SELECT CASE WHEN own.service = history.service THEN own.revision END FROM audit AS own
        WHERE (own.service, own.revision) < (history.service, history.revision)
            AND own.kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY own.service DESC, own.revision DESC LIMIT 1
    ),
    (
        SELECT whole.revision FROM audit AS whole
        WHERE (whole.service, whole.revision) < ('', history.revision)
            AND whole.kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY whole.service DESC, whole.revision DESC LIMIT 1
    )
);

COMMENT ON VIEW history IS 'Every change of state, for people: ORDER BY revision, number is the order they were written in. kind: change, or what changed nothing (shadow, gap, superseded). The same columns in SQLite.';
COMMENT ON COLUMN history.at IS 'When it happened.';
COMMENT ON COLUMN history.kind IS 'change; or what changed nothing: shadow (METRICS_ONLY kept it from happening), gap (rows are missing before), superseded (another change stood instead).';
COMMENT ON COLUMN history.lasted_s IS 'How long the state that was left had lasted, in seconds; empty: not known, or no state was left.';
COMMENT ON COLUMN history.wait_s IS 'Into OPEN: how long it waits, in seconds.';
COMMENT ON COLUMN history.why IS 'Asked for by hand: why, in the actor''s words.';
COMMENT ON COLUMN history.late_s IS 'From when it happened to when it was written, in seconds: much while the store was away or slow, or where clocks differ.';
COMMENT ON VIEW changes IS 'Everything that somebody changed, for people: ORDER BY revision, number is the order it was written in. The same columns in SQLite.';
COMMENT ON COLUMN changes.at IS 'When it was made.';
COMMENT ON COLUMN changes.actor IS 'Who made it: file, or who called.';
COMMENT ON COLUMN changes.why IS 'Why, in the actor''s words.';
COMMENT ON VIEW episodes IS 'Each time that a breaker rejected calls: from when it left CLOSED, DISABLED or METRICS_ONLY for OPEN or FORCED_OPEN until it came back to one of them. The same columns in SQLite.';
COMMENT ON COLUMN episodes.half_open_at IS 'When it was first HALF_OPEN; empty: not yet, or never.';
COMMENT ON COLUMN episodes.closed_at IS 'When it ended; empty: it lasts, or (ended_by HISTORY_GAP) it ended among rows that are missing.';
COMMENT ON COLUMN episodes.seconds IS 'How long it was, until now when it lasts; empty: it ended among rows that are missing. Counted by a clock that nobody sets: closed_at - opened_at differs where the wall clock was set.';
COMMENT ON COLUMN episodes.probes IS 'Probes that completed; those of a HALF_OPEN that lasts are not counted yet.';
COMMENT ON COLUMN episodes.rejected_calls IS 'Calls rejected, as far as no restart came between; those of the state that lasts are not counted yet.';
COMMENT ON COLUMN episodes.ended_by IS 'The reason it ended; empty: it lasts; HISTORY_GAP: it ended among rows that are missing.';
COMMENT ON VIEW time_open_by_day IS 'How long each breaker was OPEN or FORCED_OPEN on each day in UTC; a day without has no row. The same columns in SQLite.';
COMMENT ON COLUMN time_open_by_day.seconds IS 'Seconds in OPEN or FORCED_OPEN; of the present state until now.';
COMMENT ON VIEW overrides IS 'Overrides in force now: of one breaker (scope BREAKER), or of a whole service (scope SERVICE, name empty), whose breakers have no row here for it. The same columns in SQLite.';
COMMENT ON COLUMN overrides.service IS 'The service.';
COMMENT ON COLUMN overrides.name IS 'The breaker within the service; empty: the whole service.';
COMMENT ON COLUMN overrides.state IS 'The state that its breakers are held in.';
COMMENT ON COLUMN overrides.scope IS 'BREAKER or SERVICE.';
COMMENT ON COLUMN overrides.actor IS 'Who set it.';
COMMENT ON COLUMN overrides.why IS 'Why, in the actor''s words.';
COMMENT ON COLUMN overrides.since IS 'When it was set.';
COMMENT ON COLUMN overrides.expires_at IS 'When it ends by itself; empty: when it is cleared.';
COMMENT ON VIEW transitions_with_change IS 'The view history, each row next to the newest change of configuration before it: of its service, or of the file. It looks that up for each row: ask for one breaker or a short time. The same columns in SQLite.';
COMMENT ON COLUMN transitions_with_change.change_at IS 'When the configuration was changed; empty: it never was before.';
COMMENT ON COLUMN transitions_with_change.change_kind IS 'DECLARED: the file; THRESHOLDS: the service''s, over the API; SERVICE_OVERRIDE: all breakers of the service.';
COMMENT ON COLUMN transitions_with_change.change_actor IS 'Who changed it.';
COMMENT ON COLUMN transitions_with_change.change_why IS 'Why, in the actor''s words.';
COMMENT ON COLUMN transitions_with_change.seconds_after_change IS 'From the change to the transition, in seconds; below 0: it happened before, and was written down after.';
COMMENT ON COLUMN transitions_with_change.change_revision IS 'The revision of the change: find what was before and after in the view changes.';

-- A column that a view takes over as it is says what it says in its table, or in the view below it.
DO $$
DECLARE
    silent record;
BEGIN
    FOR silent IN
        SELECT upper_side.relname AS view_name, upper_column.attname AS column_name,
               col_description(lower_side.oid, lower_column.attnum) AS said
        FROM (VALUES ('history', 'transition'), ('changes', 'audit'), ('episodes', 'episode'),
                     ('time_open_by_day', 'open_time'))
             AS pair (view_name, below)
        JOIN pg_class AS upper_side ON upper_side.oid = to_regclass(pair.view_name)
        JOIN pg_class AS lower_side ON lower_side.oid = to_regclass(pair.below)
        JOIN pg_attribute AS upper_column ON upper_column.attrelid = upper_side.oid AND upper_column.attnum > 0
        JOIN pg_attribute AS lower_column
             ON lower_column.attrelid = lower_side.oid AND lower_column.attname = upper_column.attname
        WHERE col_description(upper_side.oid, upper_column.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', silent.view_name, silent.column_name, silent.said);
    END LOOP;
    FOR silent IN
        SELECT upper_column.attname AS column_name, col_description('history'::regclass, lower_column.attnum) AS said
        FROM pg_attribute AS upper_column
        JOIN pg_attribute AS lower_column
             ON lower_column.attrelid = 'history'::regclass AND lower_column.attname = upper_column.attname
        WHERE upper_column.attrelid = 'transitions_with_change'::regclass AND upper_column.attnum > 0
            AND lower_column.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN transitions_with_change.%I IS %L', silent.column_name, silent.said);
    END LOOP;
END
$$;

-- The months that stand in the default partition, that of the installation among them, get partitions of their own: a
-- month can be dropped at once, while rows of the default one are deleted one by one.
DO $$
DECLARE
    month record;
    columns text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute
    WHERE attrelid = 'transition'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    FOR month IN
        SELECT DISTINCT date_trunc('month', recorded_at AT TIME ZONE 'UTC') AS begins FROM transition_default
        WHERE isfinite(recorded_at) ORDER BY 1
    LOOP
        EXECUTE format('CREATE TABLE %I (LIKE transition INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)',
                       to_char(month.begins, '"transition_"YYYY"_"MM'));
        EXECUTE format(
            'WITH moved AS (
                 DELETE FROM transition_default
                 WHERE recorded_at >= %L::timestamp AT TIME ZONE ''UTC''
                   AND recorded_at < (%L::timestamp + interval ''1 month'') AT TIME ZONE ''UTC''
                 RETURNING %s
             )
             INSERT INTO %I (%s) SELECT * FROM moved',
            month.begins, month.begins, columns, to_char(month.begins, '"transition_"YYYY"_"MM'), columns);
        EXECUTE format(
            'ALTER TABLE transition ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            to_char(month.begins, '"transition_"YYYY"_"MM'),
            month.begins AT TIME ZONE 'UTC', (month.begins + interval '1 month') AT TIME ZONE 'UTC');
    END LOOP;
END
$$;

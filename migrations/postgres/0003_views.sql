-- Views for people: docs/sql.md asks them its questions. Each has the same columns in SQLite.

CREATE VIEW changes AS
SELECT
    recorded_at AS at,
    actor AS who,
    reason AS why,
    kind,
    service,
    name,
    before,
    after,
    revision,
    number
FROM audit;
COMMENT ON VIEW changes IS 'Everything that somebody changed, for people: ORDER BY revision, number is the order it was written in. The same columns in SQLite.';
COMMENT ON COLUMN changes.at IS 'When it was made.';
COMMENT ON COLUMN changes.who IS 'Who made it: file, or who called.';
COMMENT ON COLUMN changes.why IS 'Why, in their words.';

-- A row is a part of an episode from the one that opens to the one that ends it. Where rows are missing, the end may be
-- among them: the next row then leaves a state that lets calls through, which this one never reached.
CREATE VIEW episodes AS
WITH step AS (
    SELECT
        service, name, revision, number, occurred_at, from_state, to_state, reason, epoch, calls, failure_rate, actor,
        missing,
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
    SELECT
        *,
        count(*) FILTER (WHERE part = 'opens') OVER (PARTITION BY service, name ORDER BY revision, number) AS episode
    FROM step
),
bounded AS (
    SELECT
        *,
        count(*) FILTER (WHERE part IN ('ends', 'end unseen')) OVER (
            PARTITION BY service, name, episode ORDER BY revision, number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ends_before,
        max(episode) OVER (PARTITION BY service, name) AS newest
    FROM numbered
),
summed AS (
    SELECT
        service,
        name,
        max(occurred_at) FILTER (WHERE part = 'opens') AS opened_at,
        min(occurred_at) FILTER (WHERE part = 'goes on' AND to_state = 'HALF_OPEN') AS half_open_at,
        max(occurred_at) FILTER (WHERE part = 'ends') AS closed_at,
        max(reason) FILTER (WHERE part = 'opens') AS why,
        count(*) FILTER (WHERE from_state = 'HALF_OPEN' AND to_state = 'OPEN') AS reopened,
        coalesce(sum(calls) FILTER (WHERE from_state = 'HALF_OPEN'), 0)::bigint AS probes,
        coalesce(
            max(reason) FILTER (WHERE part = 'ends'),
            CASE WHEN bool_or(part = 'end unseen') OR episode < max(newest) THEN 'HISTORY_GAP' END
        ) AS ended_by,
        sum(missing)::bigint AS missing,
        max(failure_rate) FILTER (WHERE part = 'opens') AS failure_rate,
        max(actor) FILTER (WHERE part = 'opens') AS actor,
        max(epoch) FILTER (WHERE part = 'opens') AS epoch
    FROM bounded
    WHERE episode > 0 AND ends_before = 0
    GROUP BY service, name, episode
)
SELECT
    service,
    name,
    opened_at,
    half_open_at,
    closed_at,
    CASE
        WHEN closed_at IS NOT NULL THEN round(extract(epoch FROM closed_at - opened_at)::numeric, 3)
        WHEN ended_by IS NULL THEN round(extract(epoch FROM now() - opened_at)::numeric, 3)
    END AS seconds,
    why,
    reopened,
    probes,
    ended_by,
    missing,
    failure_rate,
    actor,
    epoch
FROM summed;
COMMENT ON VIEW episodes IS 'Each time that a breaker kept calls back: from when it left CLOSED, DISABLED or METRICS_ONLY for OPEN or FORCED_OPEN until it came back to one of them. One whose opening is not in the history is not here. The same columns in SQLite.';
COMMENT ON COLUMN episodes.opened_at IS 'When it opened.';
COMMENT ON COLUMN episodes.half_open_at IS 'When it was first HALF_OPEN; empty: not yet, or never.';
COMMENT ON COLUMN episodes.closed_at IS 'When it ended; empty: it lasts, or (ended_by HISTORY_GAP) nobody wrote down when.';
COMMENT ON COLUMN episodes.seconds IS 'How long it was, until now when it lasts; empty: nobody wrote down when it ended.';
COMMENT ON COLUMN episodes.why IS 'The reason it opened.';
COMMENT ON COLUMN episodes.reopened IS 'How often its probes opened it again.';
COMMENT ON COLUMN episodes.probes IS 'Probes that completed; those of a HALF_OPEN that lasts are not counted yet.';
COMMENT ON COLUMN episodes.ended_by IS 'The reason it ended; empty: it lasts; HISTORY_GAP: it ended among rows that are missing.';
COMMENT ON COLUMN episodes.missing IS 'Rows of the history that are missing within: where it is not 0, the other figures may be too low and the end may be another.';
COMMENT ON COLUMN episodes.failure_rate IS 'Percent of the calls when it opened; empty without a call.';
COMMENT ON COLUMN episodes.actor IS 'Who opened it by hand; empty: breakerd itself.';
COMMENT ON COLUMN episodes.epoch IS 'The epoch that it began with: one of service and name.';

-- What followed a state is in the next row, a gap included: what the state was behind a gap, nobody knows.
CREATE VIEW time_open_by_day AS
WITH step AS (
    SELECT
        service,
        name,
        from_state,
        to_state,
        missing,
        occurred_at AT TIME ZONE 'UTC' AS since,
        coalesce(lead(occurred_at) OVER (PARTITION BY service, name ORDER BY revision, number), now())
            AT TIME ZONE 'UTC' AS until
    FROM transition
    WHERE epoch IS NOT NULL OR missing > 0
),
stretch AS (
    SELECT
        service,
        name,
        since,
        greatest(until, since) AS until,
        from_state NOT IN ('OPEN', 'FORCED_OPEN') AS opens
    FROM step
    WHERE to_state IN ('OPEN', 'FORCED_OPEN') AND missing = 0
)
SELECT
    service,
    name,
    midnight::date AS day,
    round(sum(extract(epoch FROM least(until, midnight + interval '1 day') - greatest(since, midnight)))::numeric, 3)
        AS seconds,
    count(*) FILTER (WHERE opens AND since >= midnight) AS openings
FROM stretch
CROSS JOIN LATERAL generate_series(
    date_trunc('day', since), greatest(until - interval '1 microsecond', since), interval '1 day'
) AS midnight
GROUP BY service, name, midnight;
COMMENT ON VIEW time_open_by_day IS 'How long each breaker was OPEN or FORCED_OPEN on each day in UTC; a day without has no row. The same columns in SQLite.';
COMMENT ON COLUMN time_open_by_day.day IS 'The day, in UTC.';
COMMENT ON COLUMN time_open_by_day.seconds IS 'Seconds in OPEN or FORCED_OPEN; of the present state until now. What is behind a gap is not counted.';
COMMENT ON COLUMN time_open_by_day.openings IS 'How often it came into OPEN or FORCED_OPEN from another state; probes that opened it again count too.';

-- A change of configuration is the only row of the audit of its revision: number 0. The newest is looked for as the last
-- key before (service, revision), since the planner would else walk the whole audit back by its primary key for a service
-- that was never changed.
CREATE VIEW transitions_with_change AS
SELECT
    history.*,
    audit.recorded_at AS change_at,
    audit.kind AS change_kind,
    audit.actor AS change_actor,
    audit.reason AS change_reason,
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
COMMENT ON VIEW transitions_with_change IS 'The view history, each row next to the newest change of configuration before it: of its service, or of the file. The same columns in SQLite.';
COMMENT ON COLUMN transitions_with_change.change_at IS 'When the configuration was changed; empty: it never was before.';
COMMENT ON COLUMN transitions_with_change.change_kind IS 'DECLARED: the file; THRESHOLDS: the service''s, over the API; SERVICE_OVERRIDE: all breakers of the service.';
COMMENT ON COLUMN transitions_with_change.change_actor IS 'Who changed it.';
COMMENT ON COLUMN transitions_with_change.change_reason IS 'Why, in the actor''s words.';
COMMENT ON COLUMN transitions_with_change.seconds_after_change IS 'From the change to the transition, in seconds; below 0: it happened before, and was written down after.';
COMMENT ON COLUMN transitions_with_change.change_revision IS 'The revision of the change: find what was before and after in the view changes.';

COMMENT ON COLUMN current_state.since IS 'When this state was entered.';
COMMENT ON COLUMN current_state.wait_s IS 'OPEN: how long it waits, in seconds.';
COMMENT ON COLUMN current_state.actor IS 'Set by hand: by whom.';
COMMENT ON COLUMN current_state.why IS 'Set by hand: why.';
COMMENT ON COLUMN current_state.expires_at IS 'Set by hand: until when; empty: until it is cleared.';
COMMENT ON COLUMN current_state.scope IS 'Set by hand: on this BREAKER, or on its SERVICE.';
COMMENT ON COLUMN history.at IS 'When it happened.';
COMMENT ON COLUMN history.kind IS 'change; or what changed nothing: shadow (METRICS_ONLY kept it from happening), gap (rows are missing before), superseded (another change stood instead).';
COMMENT ON COLUMN history.wait_s IS 'Into OPEN: how long it waits, in seconds.';
COMMENT ON COLUMN history.why IS 'Asked for by hand: why, in the actor''s words.';

-- A column that a view takes over as it is says what it says in its table, or in the view below it.
DO $$
DECLARE
    silent record;
BEGIN
    FOR silent IN
        SELECT upper_side.relname AS view_name, upper_column.attname AS column_name,
               col_description(lower_side.oid, lower_column.attnum) AS said
        FROM (VALUES (1, 'current_state', 'breaker'), (2, 'history', 'transition'), (3, 'changes', 'audit'),
                     (4, 'episodes', 'transition'), (5, 'time_open_by_day', 'transition'))
             AS pair (place, view_name, below)
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

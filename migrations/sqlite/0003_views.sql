-- Views for people, as in Postgres: migrations/postgres says what each column holds. "Now" is asked of julianday, which
-- older sqlite3 shells know too: it is exact to some tens of microseconds.

CREATE VIEW changes AS
SELECT
    strftime('%Y-%m-%d %H:%M:%f', recorded_at_us / 1e6, 'unixepoch') AS at,
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

CREATE VIEW episodes AS
WITH step AS (
    SELECT
        service, name, revision, number, occurred_at_us, from_state, to_state, reason, epoch, calls, failure_rate, actor,
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
        max(occurred_at_us) FILTER (WHERE part = 'opens') AS opened_at_us,
        min(occurred_at_us) FILTER (WHERE part = 'goes on' AND to_state = 'HALF_OPEN') AS half_open_at_us,
        max(occurred_at_us) FILTER (WHERE part = 'ends') AS closed_at_us,
        max(reason) FILTER (WHERE part = 'opens') AS why,
        count(*) FILTER (WHERE from_state = 'HALF_OPEN' AND to_state = 'OPEN') AS reopened,
        coalesce(sum(calls) FILTER (WHERE from_state = 'HALF_OPEN'), 0) AS probes,
        coalesce(
            max(reason) FILTER (WHERE part = 'ends'),
            CASE WHEN max(part = 'end unseen') OR episode < max(newest) THEN 'HISTORY_GAP' END
        ) AS ended_by,
        sum(missing) AS missing,
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
    strftime('%Y-%m-%d %H:%M:%f', opened_at_us / 1e6, 'unixepoch') AS opened_at,
    strftime('%Y-%m-%d %H:%M:%f', half_open_at_us / 1e6, 'unixepoch') AS half_open_at,
    strftime('%Y-%m-%d %H:%M:%f', closed_at_us / 1e6, 'unixepoch') AS closed_at,
    CASE
        WHEN closed_at_us IS NOT NULL THEN round((closed_at_us - opened_at_us) / 1e6, 3)
        WHEN ended_by IS NULL THEN round((julianday('now') - 2440587.5) * 86400 - opened_at_us / 1e6, 3)
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

CREATE VIEW time_open_by_day AS
WITH RECURSIVE step AS (
    SELECT
        service,
        name,
        from_state,
        to_state,
        missing,
        occurred_at_us AS since_us,
        coalesce(
            lead(occurred_at_us) OVER (PARTITION BY service, name ORDER BY revision, number),
            CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
        ) AS until_us
    FROM transition
    WHERE epoch IS NOT NULL OR missing > 0
),
stretch AS (
    SELECT
        service,
        name,
        since_us,
        max(until_us, since_us) AS until_us,
        from_state NOT IN ('OPEN', 'FORCED_OPEN') AS opens
    FROM step
    WHERE to_state IN ('OPEN', 'FORCED_OPEN') AND missing = 0
),
piece AS (
    SELECT service, name, since_us / 86400000000 AS day, since_us, until_us, opens FROM stretch
    UNION ALL
    SELECT service, name, day + 1, since_us, until_us, false
    FROM piece
    WHERE (day + 1) * 86400000000 < until_us
)
SELECT
    service,
    name,
    date(day * 86400, 'unixepoch') AS day,
    round(sum(min(until_us, (day + 1) * 86400000000) - max(since_us, day * 86400000000)) / 1e6, 3) AS seconds,
    sum(opens) AS openings
FROM piece
GROUP BY service, name, piece.day;

CREATE VIEW transitions_with_change AS
SELECT
    history.*,
    strftime('%Y-%m-%d %H:%M:%f', audit.recorded_at_us / 1e6, 'unixepoch') AS change_at,
    audit.kind AS change_kind,
    audit.actor AS change_actor,
    audit.reason AS change_reason,
    round((transition.occurred_at_us - audit.recorded_at_us) / 1e6, 3) AS seconds_after_change,
    audit.revision AS change_revision
FROM history
JOIN transition ON transition.revision = history.revision AND transition.number = history.number
LEFT JOIN audit ON audit.number = 0 AND audit.revision = max(
    coalesce((
        SELECT CASE WHEN own.service = history.service THEN own.revision END FROM audit AS own
        WHERE (own.service, own.revision) < (history.service, history.revision)
            AND own.kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY own.service DESC, own.revision DESC LIMIT 1
    ), -1),
    coalesce((
        SELECT whole.revision FROM audit AS whole
        WHERE (whole.service, whole.revision) < ('', history.revision)
            AND whole.kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY whole.service DESC, whole.revision DESC LIMIT 1
    ), -1)
);

-- Outages and the time in OPEN are kept as they end, as in Postgres: migrations/postgres says what each table and column
-- holds. Times that people read are kept as texts too: to make a million of them takes a second.

ALTER TABLE transition ADD COLUMN lasted_us INTEGER CHECK (lasted_us >= 0);
ALTER TABLE transition ADD COLUMN rejected_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transition ADD COLUMN error_class TEXT;
ALTER TABLE transition ADD COLUMN caller TEXT;
CREATE INDEX transition_at ON transition (strftime('%Y-%m-%d %H:%M:%f', occurred_at_us / 1e6, 'unixepoch'));
CREATE INDEX transition_shadow ON transition (service, name) WHERE shadow;

-- What is known of rows that are there already. From here on breakerd says it.
UPDATE transition SET lasted_us = known.lasted_us
FROM (
    SELECT revision, number,
           CASE WHEN lag(epoch) OVER breaker = base_epoch THEN max(0, occurred_at_us - lag(occurred_at_us) OVER breaker) END
               AS lasted_us
    FROM transition
    WHERE epoch IS NOT NULL AND occurred_at_us < 253402300800000000
    WINDOW breaker AS (PARTITION BY service, name ORDER BY revision, number)
) AS known
WHERE transition.revision = known.revision AND transition.number = known.number AND known.lasted_us IS NOT NULL;

CREATE TABLE episode (
    revision        INTEGER NOT NULL,
    number          INTEGER NOT NULL CHECK (number >= 0),
    service         TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    opened_at_us    INTEGER NOT NULL,
    half_open_at_us INTEGER,
    closed_at_us    INTEGER,
    lasted_us       INTEGER CHECK (lasted_us >= 0),
    reason          TEXT    NOT NULL,
    actor           TEXT,
    why             TEXT,
    failure_rate    REAL,
    slow_call_rate  REAL,
    error_class     TEXT,
    caller          TEXT,
    reopened        INTEGER NOT NULL,
    probes          INTEGER NOT NULL,
    rejected_calls  INTEGER NOT NULL,
    missing         INTEGER NOT NULL,
    ended_by        TEXT    NOT NULL,
    recorded_at_us  INTEGER NOT NULL,
    opened_at       TEXT    GENERATED ALWAYS AS (strftime('%Y-%m-%d %H:%M:%f', opened_at_us / 1e6, 'unixepoch')) STORED,
    half_open_at    TEXT    GENERATED ALWAYS AS (strftime('%Y-%m-%d %H:%M:%f', half_open_at_us / 1e6, 'unixepoch')) STORED,
    closed_at       TEXT    GENERATED ALWAYS AS (strftime('%Y-%m-%d %H:%M:%f', closed_at_us / 1e6, 'unixepoch')) STORED,
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX episode_breaker ON episode (service, name, revision, number);

CREATE TABLE open_time (
    day      INTEGER NOT NULL,
    service  TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    open_us  INTEGER NOT NULL CHECK (open_us >= 0),
    openings INTEGER NOT NULL CHECK (openings >= 0),
    PRIMARY KEY (day, service, name)
) STRICT, WITHOUT ROWID;

ALTER TABLE breaker ADD COLUMN episode TEXT CHECK (episode IS NULL OR json_valid(episode));

-- The outages of the history that is there, as the view episodes had them until now.
CREATE TEMPORARY TABLE outage AS
WITH step AS (
    SELECT *,
        CASE
            WHEN missing > 0 THEN 'gap'
            WHEN from_state IN ('CLOSED', 'DISABLED', 'METRICS_ONLY') THEN
                CASE WHEN to_state IN ('OPEN', 'FORCED_OPEN') THEN 'opens' ELSE 'end unseen' END
            WHEN to_state IN ('CLOSED', 'DISABLED', 'METRICS_ONLY') THEN 'ends'
            ELSE 'goes on'
        END AS part
    FROM main.transition
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
        max(nth) OVER (PARTITION BY service, name) AS newest,
        row_number() OVER (PARTITION BY service, name, nth ORDER BY revision DESC, number DESC) AS from_the_end
    FROM numbered
)
SELECT
    max(revision) AS revision,
    max(CASE WHEN from_the_end = 1 THEN number END) AS number,
    max(recorded_at_us) AS recorded_at_us,
    service,
    name,
    max(occurred_at_us) FILTER (WHERE part = 'opens') AS opened_at_us,
    min(occurred_at_us) FILTER (WHERE part = 'goes on' AND to_state = 'HALF_OPEN') AS half_open_at_us,
    max(occurred_at_us) FILTER (WHERE part = 'ends') AS closed_at_us,
    coalesce(sum(lasted_us) FILTER (WHERE part IN ('ends', 'goes on')), 0) AS lasted_us,
    max(reason) FILTER (WHERE part = 'opens') AS reason,
    max(actor) FILTER (WHERE part = 'opens') AS actor,
    max(override_reason) FILTER (WHERE part = 'opens') AS why,
    max(failure_rate) FILTER (WHERE part = 'opens') AS failure_rate,
    max(slow_call_rate) FILTER (WHERE part = 'opens') AS slow_call_rate,
    max(calls) FILTER (WHERE part = 'opens') AS calls,
    max(failures) FILTER (WHERE part = 'opens') AS failures,
    max(slow_calls) FILTER (WHERE part = 'opens') AS slow_calls,
    count(*) FILTER (WHERE from_state = 'HALF_OPEN' AND to_state = 'OPEN') AS reopened,
    coalesce(sum(calls) FILTER (WHERE from_state = 'HALF_OPEN'), 0) AS probes,
    sum(missing) AS missing,
    max(epoch) FILTER (WHERE part = 'opens') AS epoch,
    coalesce(
        max(reason) FILTER (WHERE part = 'ends'),
        CASE WHEN max(part = 'end unseen') OR nth < max(newest) THEN 'HISTORY_GAP' END
    ) AS ended_by
FROM bounded
WHERE nth > 0 AND ends_before = 0
GROUP BY service, name, nth;

INSERT INTO episode (revision, number, service, name, epoch, opened_at_us, half_open_at_us, closed_at_us, lasted_us, reason,
                     actor, why, failure_rate, slow_call_rate, reopened, probes, rejected_calls, missing, ended_by,
                     recorded_at_us)
SELECT revision, number, service, name, epoch, opened_at_us, half_open_at_us, closed_at_us,
       CASE WHEN closed_at_us IS NOT NULL THEN lasted_us END, reason, actor, why, failure_rate, slow_call_rate, reopened,
       probes, 0, missing, ended_by, recorded_at_us
FROM outage
WHERE ended_by IS NOT NULL;

UPDATE breaker SET episode = json_object(
    'epoch', outage.epoch,
    'opened_at_us', opened_at_us,
    'half_open_at_us', half_open_at_us,
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
WHERE outage.service = breaker.service AND outage.name = breaker.name AND ended_by IS NULL
  AND state IN ('OPEN', 'HALF_OPEN', 'FORCED_OPEN');
DROP TABLE temp.outage;

INSERT INTO open_time (day, service, name, open_us, openings)
WITH RECURSIVE stretch AS (
    SELECT service, name, since_us, max(until_us, since_us) AS until_us
    FROM (
        SELECT service, name, epoch, to_state, missing, occurred_at_us AS since_us,
               lead(occurred_at_us) OVER (PARTITION BY service, name ORDER BY revision, number) AS until_us
        FROM transition
        WHERE (epoch IS NOT NULL OR missing > 0) AND occurred_at_us < 253402300800000000
    ) AS step
    WHERE to_state IN ('OPEN', 'FORCED_OPEN') AND missing = 0 AND until_us IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM breaker
        WHERE breaker.service = step.service AND breaker.name = step.name AND breaker.epoch = step.epoch
    )
),
piece AS (
    SELECT service, name, since_us, until_us, since_us / 86400000000 AS day, 1 AS openings FROM stretch
    UNION ALL
    SELECT service, name, since_us, until_us, day + 1, 0 FROM piece WHERE (day + 1) * 86400000000 < until_us
)
SELECT day, service, name,
       sum(min(until_us, (day + 1) * 86400000000) - max(since_us, day * 86400000000)), sum(openings)
FROM piece
GROUP BY day, service, name;

DROP VIEW transitions_with_change;
DROP VIEW episodes;
DROP VIEW time_open_by_day;
DROP VIEW changes;
DROP VIEW history;

CREATE VIEW history AS
SELECT
    strftime('%Y-%m-%d %H:%M:%f', occurred_at_us / 1e6, 'unixepoch') AS at,
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
    round(lasted_us / 1e6, 3) AS lasted_s,
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
    round(wait_us / 1e6, 3) AS wait_s,
    actor,
    override_reason AS why,
    missing,
    shadow,
    alone,
    superseded_by,
    replica,
    config_revision,
    strftime('%Y-%m-%d %H:%M:%f', recorded_at_us / 1e6, 'unixepoch') AS recorded_at,
    round((recorded_at_us - occurred_at_us) / 1e6, 3) AS late_s,
    revision,
    number
FROM transition;

CREATE VIEW changes AS
SELECT
    strftime('%Y-%m-%d %H:%M:%f', recorded_at_us / 1e6, 'unixepoch') AS at,
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
    round(lasted_us / 1e6, 3) AS seconds,
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
    strftime('%Y-%m-%d %H:%M:%f', (episode ->> 'opened_at_us') / 1e6, 'unixepoch'),
    strftime('%Y-%m-%d %H:%M:%f', (episode ->> 'half_open_at_us') / 1e6, 'unixepoch'),
    NULL,
    round((episode ->> 'lasted_us') / 1e6 + max((julianday('now') - 2440587.5) * 86400 - entered_at_us / 1e6, 0), 3),
    episode ->> 'reason',
    episode ->> 'error_class',
    episode ->> 'caller',
    (episode ->> 'failures') * 100000 / nullif(episode ->> 'calls', 0) / 1000.0,
    (episode ->> 'slow_calls') * 100000 / nullif(episode ->> 'calls', 0) / 1000.0,
    episode ->> 'rejected_calls',
    episode ->> 'reopened',
    episode ->> 'probes',
    episode ->> 'actor',
    episode ->> 'why',
    NULL,
    episode ->> 'missing',
    episode ->> 'epoch'
FROM breaker
WHERE episode IS NOT NULL;

CREATE VIEW time_open_by_day AS
WITH RECURSIVE present AS (
    SELECT service, name, entered_at_us AS since_us,
           max(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), entered_at_us) AS until_us
    FROM breaker
    WHERE state IN ('OPEN', 'FORCED_OPEN')
),
piece AS (
    SELECT service, name, since_us, until_us, since_us / 86400000000 AS day, 1 AS openings FROM present
    UNION ALL
    SELECT service, name, since_us, until_us, day + 1, 0 FROM piece WHERE (day + 1) * 86400000000 < until_us
)
SELECT
    service,
    name,
    date(day * 86400, 'unixepoch') AS day,
    round(sum(open_us) / 1e6, 3) AS seconds,
    sum(openings) AS openings
FROM (
    SELECT service, name, day, open_us, openings FROM open_time
    UNION ALL
    SELECT service, name, day, min(until_us, (day + 1) * 86400000000) - max(since_us, day * 86400000000), openings FROM piece
) AS part
GROUP BY part.day, service, name;

CREATE VIEW overrides AS
SELECT
    service,
    name,
    state,
    override_scope AS scope,
    override_actor AS actor,
    override_reason AS why,
    strftime('%Y-%m-%d %H:%M:%f', entered_at_us / 1e6, 'unixepoch') AS since,
    strftime('%Y-%m-%d %H:%M:%f', override_expires_at_us / 1e6, 'unixepoch') AS expires_at
FROM breaker
WHERE override_scope = 'BREAKER' AND state IN ('FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')
    AND (override_expires_at_us IS NULL OR override_expires_at_us / 1e6 > (julianday('now') - 2440587.5) * 86400)
UNION ALL
SELECT service, NULL, kind, 'SERVICE', actor, reason,
       strftime('%Y-%m-%d %H:%M:%f', set_at_us / 1e6, 'unixepoch'),
       strftime('%Y-%m-%d %H:%M:%f', expires_at_us / 1e6, 'unixepoch')
FROM service_override
WHERE expires_at_us IS NULL OR expires_at_us / 1e6 > (julianday('now') - 2440587.5) * 86400;

CREATE VIEW transitions_with_change AS
SELECT
    history.*,
    strftime('%Y-%m-%d %H:%M:%f', audit.recorded_at_us / 1e6, 'unixepoch') AS change_at,
    audit.kind AS change_kind,
    audit.actor AS change_actor,
    audit.reason AS change_why,
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

-- The names that an engineer would search for, before the first release, as in Postgres: migrations/postgres says what each
-- column holds. The views that show the old names are made anew.

-- Else a view of an operator's own that reads one of them stops the migration. Such a view is left as it is.
PRAGMA writable_schema = ON;

DROP VIEW transitions_with_change;
DROP VIEW history;
DROP VIEW episodes;
DROP VIEW changes;
DROP VIEW current_state;

ALTER TABLE transition RENAME COLUMN attempts TO open_count;
ALTER TABLE transition RENAME COLUMN missing TO lost_transitions;
ALTER TABLE transition RENAME COLUMN alone TO store_unavailable;

ALTER TABLE breaker RENAME COLUMN attempts TO open_count;

ALTER TABLE episode RENAME COLUMN missing TO lost_transitions;

ALTER TABLE meta RENAME COLUMN lineage TO timeline;

ALTER TABLE declared RENAME TO file_config;
ALTER TABLE file_config RENAME COLUMN declared_at_us TO applied_at_us;

-- SQLite changes no CHECK of a table that is there, so the table is made anew.
CREATE TABLE audit_new (
    revision       INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    occurred_at_us INTEGER,
    actor          TEXT    NOT NULL,
    reason         TEXT,
    kind           TEXT    NOT NULL CHECK (kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED', 'DELETED')),
    service        TEXT    NOT NULL DEFAULT '',
    name           TEXT    NOT NULL DEFAULT '',
    before         TEXT    CHECK (json_valid(before)),
    after          TEXT    CHECK (json_valid(after)),
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_new (revision, number, recorded_at_us, occurred_at_us, actor, reason, kind, service, name, before, after)
SELECT revision, number, recorded_at_us, occurred_at_us, actor, reason,
       CASE kind WHEN 'DECLARED' THEN 'FILE_APPLIED' ELSE kind END, service, name, before, after
FROM audit
ORDER BY revision, number;
DROP TABLE audit;
ALTER TABLE audit_new RENAME TO audit;
CREATE INDEX audit_service ON audit (service, revision, number);

PRAGMA writable_schema = OFF;

CREATE VIEW current_state AS
SELECT
    service,
    name,
    state,
    epoch,
    strftime('%Y-%m-%d %H:%M:%f', entered_at_us / 1e6, 'unixepoch') AS since,
    strftime('%Y-%m-%d %H:%M:%f', open_until_us / 1e6, 'unixepoch') AS open_until,
    open_count,
    round(wait_us / 1e6, 3) AS wait_s,
    override_actor AS actor,
    override_reason AS why,
    strftime('%Y-%m-%d %H:%M:%f', override_expires_at_us / 1e6, 'unixepoch') AS expires_at,
    config_revision,
    revision,
    override_scope AS scope
FROM breaker;

CREATE VIEW history AS
SELECT
    at,
    service,
    name,
    from_state,
    to_state,
    reason,
    CASE
        WHEN lost_transitions > 0 THEN 'gap'
        WHEN shadow THEN 'shadow'
        WHEN superseded_by IS NOT NULL THEN 'superseded'
        ELSE 'change'
    END AS kind,
    epoch,
    round(lasted_us / 1e6, 3) AS lasted_s,
    calls,
    failures,
    failures * 100000 / nullif(calls, 0) / 1000.0 AS failure_rate,
    slow_calls,
    slow_calls * 100000 / nullif(calls, 0) / 1000.0 AS slow_call_rate,
    consecutive_failures,
    consecutive_successes,
    reporters,
    error_class,
    caller,
    rejected_calls,
    open_count,
    round(wait_us / 1e6, 3) AS wait_s,
    actor,
    override_reason AS why,
    lost_transitions,
    shadow,
    store_unavailable,
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
    lost_transitions,
    epoch
FROM episode
UNION ALL
SELECT
    service,
    name,
    strftime('%Y-%m-%d %H:%M:%f', (episode ->> 'opened_at_us') / 1e6, 'unixepoch'),
    strftime('%Y-%m-%d %H:%M:%f', (episode ->> 'half_open_at_us') / 1e6, 'unixepoch'),
    NULL,
    round(coalesce(episode ->> 'lasted_us', 0) / 1e6 + max((julianday('now') - 2440587.5) * 86400 - entered_at_us / 1e6, 0), 3),
    episode ->> 'reason',
    episode ->> 'error_class',
    episode ->> 'caller',
    coalesce(episode ->> 'failures', 0) * 100000 / nullif(episode ->> 'calls', 0) / 1000.0,
    coalesce(episode ->> 'slow_calls', 0) * 100000 / nullif(episode ->> 'calls', 0) / 1000.0,
    coalesce(episode ->> 'rejected_calls', 0),
    coalesce(episode ->> 'reopened', 0),
    coalesce(episode ->> 'probes', 0),
    episode ->> 'actor',
    episode ->> 'why',
    NULL,
    coalesce(episode ->> 'missing', 0),
    episode ->> 'epoch'
FROM breaker
WHERE episode IS NOT NULL;

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
            AND own.kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY own.service DESC, own.revision DESC LIMIT 1
    ), -1),
    coalesce((
        SELECT whole.revision FROM audit AS whole
        WHERE (whole.service, whole.revision) < ('', history.revision)
            AND whole.kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY whole.service DESC, whole.revision DESC LIMIT 1
    ), -1)
);

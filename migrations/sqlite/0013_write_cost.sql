-- What the journal's writer pays for each transition, as in Postgres: migrations/postgres says why. Rows are checked by
-- breakerd as they are read, not by CHECK; SQLite changes neither a CHECK nor a generated column of a table that is there, so the
-- tables are made anew. Views that read them are left as they are.

PRAGMA legacy_alter_table = ON;

DROP VIEW history;
DROP VIEW episodes;

-- at is the time as people read it: breakerd makes it, since strftime in an index cost more than the row.
CREATE TABLE transition_new (
    revision              INTEGER NOT NULL,
    number                INTEGER NOT NULL,
    replica               TEXT    NOT NULL,
    boot                  TEXT    NOT NULL,
    seq                   INTEGER NOT NULL,
    service               TEXT    NOT NULL,
    name                  TEXT    NOT NULL,
    from_state            TEXT    NOT NULL,
    to_state              TEXT    NOT NULL,
    reason                TEXT    NOT NULL,
    epoch                 INTEGER,
    base_epoch            INTEGER NOT NULL,
    calls                 INTEGER NOT NULL,
    failures              INTEGER NOT NULL,
    slow_calls            INTEGER NOT NULL,
    consecutive_failures  INTEGER NOT NULL,
    consecutive_successes INTEGER NOT NULL,
    reporters             INTEGER NOT NULL,
    attempts              INTEGER NOT NULL,
    wait_us               INTEGER,
    retry_after_us        INTEGER,
    actor                 TEXT,
    override_reason       TEXT,
    lasted_us             INTEGER,
    rejected_calls        INTEGER NOT NULL,
    error_class           TEXT,
    caller                TEXT,
    missing               INTEGER NOT NULL,
    shadow                INTEGER NOT NULL,
    alone                 INTEGER NOT NULL,
    superseded_by         INTEGER,
    config_revision       INTEGER NOT NULL,
    occurred_at_us        INTEGER NOT NULL,
    recorded_at_us        INTEGER NOT NULL,
    at                    TEXT    NOT NULL,
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
INSERT INTO transition_new
SELECT revision, number, replica, boot, seq, service, name, from_state, to_state, reason, epoch, base_epoch, calls, failures,
       slow_calls, consecutive_failures, consecutive_successes, reporters, attempts, wait_us, retry_after_us, actor,
       override_reason, lasted_us, rejected_calls, error_class, caller, missing, shadow, alone, superseded_by, config_revision,
       occurred_at_us, recorded_at_us,
       coalesce(strftime('%Y-%m-%d %H:%M:%f', occurred_at_us / 1e6, 'unixepoch'), '9999-12-31 23:59:59.999')
FROM transition
ORDER BY revision, number;
DROP TABLE transition;
ALTER TABLE transition_new RENAME TO transition;
CREATE INDEX transition_breaker ON transition (service, name, revision, number);
CREATE INDEX transition_at ON transition (at);
CREATE INDEX transition_shadow ON transition (service, name) WHERE shadow;

-- With a row id: rows stay where they are as others come between them, and few pages change.
CREATE TABLE breaker_new (
    service                TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    epoch                  INTEGER NOT NULL,
    state                  TEXT    NOT NULL,
    attempts               INTEGER NOT NULL,
    entered_at_us          INTEGER NOT NULL,
    wait_us                INTEGER,
    retry_after_us         INTEGER,
    open_until_us          INTEGER,
    override_actor         TEXT,
    override_reason        TEXT,
    override_expires_at_us INTEGER,
    permitted              INTEGER,
    failures_to_open       INTEGER,
    slow_to_open           INTEGER,
    lease_us               INTEGER,
    max_wait_us            INTEGER,
    after_max_wait         TEXT,
    first_probe_at_us      INTEGER,
    config_revision        INTEGER NOT NULL,
    revision               INTEGER NOT NULL,
    override_scope         TEXT,
    override_ttl_us        INTEGER,
    episode                TEXT,
    entered_by             TEXT,
    PRIMARY KEY (service, name)
) STRICT;
INSERT INTO breaker_new
SELECT service, name, epoch, state, attempts, entered_at_us, wait_us, retry_after_us, open_until_us, override_actor,
       override_reason, override_expires_at_us, permitted, failures_to_open, slow_to_open, lease_us, max_wait_us,
       after_max_wait, first_probe_at_us, config_revision, revision, override_scope, override_ttl_us, episode, entered_by
FROM breaker
ORDER BY service, name;
DROP TABLE breaker;
ALTER TABLE breaker_new RENAME TO breaker;

CREATE TABLE episode_new (
    revision        INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    service         TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    epoch           INTEGER NOT NULL,
    opened_at_us    INTEGER NOT NULL,
    half_open_at_us INTEGER,
    closed_at_us    INTEGER,
    lasted_us       INTEGER,
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
    opened_at       TEXT,
    half_open_at    TEXT,
    closed_at       TEXT,
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
INSERT INTO episode_new
SELECT revision, number, service, name, epoch, opened_at_us, half_open_at_us, closed_at_us, lasted_us, reason, actor, why,
       failure_rate, slow_call_rate, error_class, caller, reopened, probes, rejected_calls, missing, ended_by, recorded_at_us,
       opened_at, half_open_at, closed_at
FROM episode
ORDER BY revision, number;
DROP TABLE episode;
ALTER TABLE episode_new RENAME TO episode;
CREATE INDEX episode_breaker ON episode (service, name, revision, number);

-- A row for a range of ids that follow each other, 1,000 at most, instead of one for each.
CREATE TABLE receipt_new (
    replica        TEXT    NOT NULL,
    boot           TEXT    NOT NULL,
    first_seq      INTEGER NOT NULL,
    last_seq       INTEGER NOT NULL,
    epochs         TEXT    NOT NULL,
    revision       INTEGER,
    recorded_at_us INTEGER NOT NULL,
    PRIMARY KEY (replica, boot, first_seq)
) STRICT, WITHOUT ROWID;
INSERT INTO receipt_new (replica, boot, first_seq, last_seq, epochs, revision, recorded_at_us)
SELECT replica, boot, min(seq), max(seq), json_group_array(epoch), revision, max(recorded_at_us)
FROM (
    SELECT *, seq - row_number() OVER (PARTITION BY replica, boot, revision ORDER BY seq) AS island
    FROM receipt
    ORDER BY replica, boot, seq
)
GROUP BY replica, boot, revision, island, seq / 1000;
DROP TABLE receipt;
ALTER TABLE receipt_new RENAME TO receipt;
CREATE INDEX receipt_recorded_at ON receipt (recorded_at_us);

CREATE VIEW history AS
SELECT
    at,
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
    failures * 100000 / nullif(calls, 0) / 1000.0 AS failure_rate,
    slow_calls,
    slow_calls * 100000 / nullif(calls, 0) / 1000.0 AS slow_call_rate,
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

PRAGMA legacy_alter_table = OFF;

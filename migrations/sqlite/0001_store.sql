-- What breakerd keeps, as in Postgres but for this: times are integers, microseconds since the Unix epoch, in columns
-- that end in _us (the views show them as text); there are no tables for claims and counts, which only replicas share.
-- migrations/postgres says what each column holds.

CREATE TABLE meta (
    only_row      INT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    store_id      TEXT    NOT NULL CHECK (length(store_id) = 16),
    lineage       INTEGER NOT NULL CHECK (lineage >= 0),
    permit_key    BLOB    NOT NULL CHECK (length(permit_key) = 16),
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE revision (
    only_row INT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    n        INTEGER NOT NULL CHECK (n >= 0)
) STRICT;
INSERT INTO revision (n) VALUES (0);

CREATE TABLE change (
    rev            INTEGER PRIMARY KEY,
    nonce          INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE breaker (
    service                TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    epoch                  INTEGER NOT NULL CHECK (epoch >= 0),
    state                  TEXT    NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    attempts               INTEGER NOT NULL CHECK (attempts >= 0),
    entered_at_us          INTEGER NOT NULL,
    wait_us                INTEGER CHECK (wait_us >= 0),
    retry_after_us         INTEGER CHECK (retry_after_us >= 0),
    open_until_us          INTEGER,
    override_actor         TEXT,
    override_reason        TEXT,
    override_expires_at_us INTEGER,
    permitted              INTEGER CHECK (permitted > 0),
    failures_to_open       INTEGER CHECK (failures_to_open > 0),
    slow_to_open           INTEGER CHECK (slow_to_open > 0),
    lease_us               INTEGER CHECK (lease_us > 0),
    max_wait_us            INTEGER CHECK (max_wait_us > 0),
    after_max_wait         TEXT    CHECK (after_max_wait IN ('OPEN', 'CLOSED')),
    first_probe_at_us      INTEGER,
    config_revision        INTEGER NOT NULL CHECK (config_revision >= 0),
    revision               INTEGER NOT NULL,
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE transition (
    revision              INTEGER NOT NULL,
    number                INTEGER NOT NULL CHECK (number >= 0),
    replica               TEXT    NOT NULL,
    boot                  TEXT    NOT NULL CHECK (length(boot) = 16),
    seq                   INTEGER NOT NULL,
    service               TEXT    NOT NULL,
    name                  TEXT    NOT NULL,
    from_state            TEXT    NOT NULL CHECK (from_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    to_state              TEXT    NOT NULL CHECK (to_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    reason                TEXT    NOT NULL,
    epoch                 INTEGER,
    base_epoch            INTEGER NOT NULL,
    branch                INTEGER NOT NULL DEFAULT 0,
    calls                 INTEGER NOT NULL,
    failures              INTEGER NOT NULL,
    slow_calls            INTEGER NOT NULL,
    failure_rate          REAL    GENERATED ALWAYS AS (failures * 100000 / nullif(calls, 0) / 1000.0) VIRTUAL,
    slow_call_rate        REAL    GENERATED ALWAYS AS (slow_calls * 100000 / nullif(calls, 0) / 1000.0) VIRTUAL,
    consecutive_failures  INTEGER NOT NULL,
    consecutive_successes INTEGER NOT NULL,
    reporters             INTEGER NOT NULL,
    attempts              INTEGER NOT NULL,
    wait_us               INTEGER,
    retry_after_us        INTEGER,
    actor                 TEXT,
    override_reason       TEXT,
    missing               INTEGER NOT NULL DEFAULT 0,
    shadow                INTEGER NOT NULL CHECK (shadow IN (0, 1)),
    alone                 INTEGER NOT NULL CHECK (alone IN (0, 1)),
    superseded_by         INTEGER,
    config_revision       INTEGER NOT NULL,
    occurred_at_us        INTEGER NOT NULL,
    recorded_at_us        INTEGER NOT NULL,
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX transition_breaker ON transition (service, name, revision, number);
CREATE INDEX transition_occurred_at ON transition (occurred_at_us);

CREATE TABLE receipt (
    replica        TEXT    NOT NULL,
    boot           TEXT    NOT NULL,
    seq            INTEGER NOT NULL,
    epoch          INTEGER,
    revision       INTEGER,
    recorded_at_us INTEGER NOT NULL,
    PRIMARY KEY (replica, boot, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE declared (
    only_row       INT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    generation     INTEGER CHECK (generation >= 0),
    content        TEXT    NOT NULL CHECK (json_valid(content)),
    revision       INTEGER NOT NULL,
    declared_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE config_change (
    revision       INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    actor          TEXT    NOT NULL,
    reason         TEXT,
    what           TEXT    NOT NULL,
    before         TEXT    CHECK (json_valid(before)),
    after          TEXT    CHECK (json_valid(after)),
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;

CREATE VIEW current_state AS
SELECT
    service,
    name,
    state,
    epoch,
    strftime('%Y-%m-%d %H:%M:%f', entered_at_us / 1e6, 'unixepoch') AS since,
    strftime('%Y-%m-%d %H:%M:%f', open_until_us / 1e6, 'unixepoch') AS open_until,
    attempts,
    round(wait_us / 1e6, 3) AS wait_s,
    override_actor AS actor,
    override_reason AS why,
    strftime('%Y-%m-%d %H:%M:%f', override_expires_at_us / 1e6, 'unixepoch') AS expires_at,
    config_revision,
    revision
FROM breaker;

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
    calls,
    failures,
    failure_rate,
    slow_calls,
    slow_call_rate,
    consecutive_failures,
    consecutive_successes,
    reporters,
    attempts,
    round(wait_us / 1e6, 3) AS wait_s,
    actor,
    override_reason AS why,
    missing,
    alone,
    replica,
    config_revision,
    strftime('%Y-%m-%d %H:%M:%f', recorded_at_us / 1e6, 'unixepoch') AS recorded_at,
    revision,
    number
FROM transition;

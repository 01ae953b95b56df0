-- What operators set, as in Postgres: migrations/postgres says what each table and column holds.

ALTER TABLE breaker ADD COLUMN override_scope TEXT CHECK (override_scope IN ('BREAKER', 'SERVICE'));
UPDATE breaker SET override_scope = 'BREAKER' WHERE override_actor IS NOT NULL;

ALTER TABLE config_change RENAME TO audit;
ALTER TABLE audit DROP COLUMN what;
ALTER TABLE audit ADD COLUMN kind TEXT NOT NULL DEFAULT 'DECLARED' CHECK (kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED'));
ALTER TABLE audit ADD COLUMN service TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN name TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_service ON audit (service, revision, number);

CREATE TABLE config_head (
    only_row      INT     NOT NULL PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    revision      INTEGER NOT NULL CHECK (revision >= 0),
    forgotten     INTEGER NOT NULL CHECK (forgotten >= 0),
    history_floor INTEGER NOT NULL CHECK (history_floor >= 0)
) STRICT;
INSERT INTO config_head (revision, forgotten, history_floor)
SELECT coalesce(max(revision), 0), coalesce(max(revision), 0), 0 FROM declared;

CREATE TABLE service_config (
    service       TEXT    NOT NULL PRIMARY KEY,
    layer         TEXT    CHECK (json_valid(layer)),
    revision      INTEGER NOT NULL,
    changed_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO service_config (service, revision, changed_at_us) SELECT '', revision, declared_at_us FROM declared;
INSERT INTO service_config (service, revision, changed_at_us)
SELECT services.key, revision, declared_at_us FROM declared, json_each(content, '$.services') AS services;

CREATE TABLE service_override (
    service       TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL CHECK (kind IN ('FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    actor         TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    set_at_us     INTEGER NOT NULL,
    expires_at_us INTEGER,
    revision      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE config_request (
    id             TEXT    NOT NULL PRIMARY KEY,
    digest         INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

DROP VIEW current_state;
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
    revision,
    override_scope AS scope
FROM breaker;

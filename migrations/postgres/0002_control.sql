-- What operators set: thresholds over those of the file, overrides of whole services, and who changed what.
-- src/store/mod.rs says why each table is as it is.

ALTER TABLE breaker ADD COLUMN override_scope text CHECK (override_scope IN ('BREAKER', 'SERVICE'));
UPDATE breaker SET override_scope = 'BREAKER' WHERE override_actor IS NOT NULL;
COMMENT ON COLUMN breaker.override_scope IS 'Set by hand: on this breaker, or on its service.';

COMMENT ON COLUMN transition.override_reason IS 'Asked for by hand: why, in the actor''s words.';

ALTER TABLE config_change RENAME TO audit;
ALTER TABLE audit RENAME CONSTRAINT config_change_pkey TO audit_pkey;
ALTER TABLE audit DROP COLUMN what;
ALTER TABLE audit ADD COLUMN kind text NOT NULL DEFAULT 'DECLARED' CHECK (kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED'));
ALTER TABLE audit ADD COLUMN service text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN name text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE audit ALTER COLUMN kind DROP DEFAULT;
CREATE INDEX audit_service ON audit (service, revision, number);
CREATE INDEX transition_recorded_at ON transition USING brin (recorded_at);
COMMENT ON TABLE audit IS 'Everything that somebody changed: who, when, why, what was before and after. Only ever added to. Look at the view changes.';
COMMENT ON COLUMN audit.kind IS 'What was changed: DECLARED is the file''s thresholds, THRESHOLDS a service''s over the API, SERVICE_OVERRIDE all breakers of a service; the others are about one breaker.';
COMMENT ON COLUMN audit.service IS 'The service; empty: the file''s thresholds, of every service.';
COMMENT ON COLUMN audit.name IS 'The breaker within the service; empty: the service as a whole.';

CREATE TABLE config_head (
    only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    revision      bigint      NOT NULL CHECK (revision >= 0),
    forgotten     bigint      NOT NULL CHECK (forgotten >= 0),
    history_floor bigint      NOT NULL CHECK (history_floor >= 0)
);
INSERT INTO config_head (revision, forgotten, history_floor)
SELECT coalesce(max(revision), 0), coalesce(max(revision), 0), 0 FROM declared;
COMMENT ON TABLE config_head IS 'How far the configuration has come, and how far back it and the history reach. One row.';
COMMENT ON COLUMN config_head.revision IS 'The newest revision that changed the configuration: the guard of the next change.';
COMMENT ON COLUMN config_head.forgotten IS 'Services whose configuration went away up to this revision may be missing in service_config.';
COMMENT ON COLUMN config_head.history_floor IS 'The newest revision of which rows of the history have been let go of.';

CREATE TABLE service_config (
    service    text COLLATE "C" PRIMARY KEY,
    layer      jsonb,
    revision   bigint      NOT NULL,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE service_config IS 'A row for each service that has a configuration of its own, or had one.';
COMMENT ON COLUMN service_config.service IS 'The service; empty: the defaults, which judge every service without a configuration of its own.';
COMMENT ON COLUMN service_config.layer IS 'What was set over the API, {field: value}; empty: nothing.';
COMMENT ON COLUMN service_config.revision IS 'The newest revision that changed its configuration, by the file or over the API.';
COMMENT ON COLUMN service_config.changed_at IS 'When that was.';
INSERT INTO service_config (service, revision, changed_at) SELECT '', revision, declared_at FROM declared;
INSERT INTO service_config (service, revision, changed_at)
SELECT jsonb_object_keys(content -> 'services'), revision, declared_at FROM declared;

CREATE TABLE service_override (
    service    text COLLATE "C" PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    actor      text        NOT NULL,
    reason     text        NOT NULL,
    set_at     timestamptz NOT NULL,
    expires_at timestamptz,
    revision   bigint      NOT NULL
);
COMMENT ON TABLE service_override IS 'Overrides of whole services. Breakers born later take them up.';
COMMENT ON COLUMN service_override.service IS 'The service.';
COMMENT ON COLUMN service_override.kind IS 'The state that its breakers are held in.';
COMMENT ON COLUMN service_override.actor IS 'Who set it.';
COMMENT ON COLUMN service_override.reason IS 'Why, in the actor''s words.';
COMMENT ON COLUMN service_override.set_at IS 'When.';
COMMENT ON COLUMN service_override.expires_at IS 'When it ends by itself; empty: when it is cleared.';
COMMENT ON COLUMN service_override.revision IS 'The revision that wrote it.';

CREATE TABLE config_request (
    id          text        PRIMARY KEY,
    digest      bigint      NOT NULL,
    revision    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL
);
COMMENT ON TABLE config_request IS 'The ids that clients gave their changes: sent again, a change is not made again. Kept for a day.';
COMMENT ON COLUMN config_request.id IS 'The client''s word.';
COMMENT ON COLUMN config_request.digest IS 'A hash of what was asked for under it.';
COMMENT ON COLUMN config_request.revision IS 'The revision that it made.';
COMMENT ON COLUMN config_request.recorded_at IS 'When.';

CREATE OR REPLACE VIEW current_state AS
SELECT
    service,
    name,
    state,
    epoch,
    entered_at AS since,
    open_until,
    attempts,
    round(wait_us / 1000000.0, 3) AS wait_s,
    override_actor AS actor,
    override_reason AS why,
    override_expires_at AS expires_at,
    config_revision,
    revision,
    override_scope AS scope
FROM breaker;

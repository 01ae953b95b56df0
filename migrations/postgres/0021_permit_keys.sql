-- Several keys of permits, so that the key can be changed while breakerd runs. meta.permit_key stays: breakers and callers are
-- named under it, and a release that knows one key goes on sealing with it.

CREATE TABLE permit_key (
    number      bigint      PRIMARY KEY CHECK (number BETWEEN 1 AND 4294967295),
    secret      bytea       NOT NULL CHECK (length(secret) = 16),
    created_at  timestamptz NOT NULL,
    seals_since timestamptz
);
INSERT INTO permit_key (number, secret, created_at, seals_since) SELECT 1, permit_key, created_at, created_at FROM meta;
COMMENT ON TABLE permit_key IS 'Keys of permits. The newest one that seals does so; permits sealed with any of them are accepted. A key is deleted a day after its successor began to seal.';
COMMENT ON COLUMN permit_key.number IS 'Number of the key. Permits sealed with it carry it; those of key 1 carry none.';
COMMENT ON COLUMN permit_key.secret IS 'Secret.';
COMMENT ON COLUMN permit_key.created_at IS 'Time when the key was created.';
COMMENT ON COLUMN permit_key.seals_since IS 'Time when the key began to seal. NULL until every live replica has it.';
COMMENT ON COLUMN meta.permit_key IS 'Secret key that names breakers and callers. Never changes. It is also the first key of permits.';

-- A release that knows one key says nothing, and has none of the others.
ALTER TABLE replica ADD COLUMN permit_key bigint NOT NULL DEFAULT 0 CHECK (permit_key >= 0);
COMMENT ON COLUMN replica.permit_key IS 'Number of the newest permit key that the replica has. 0: it knows a single key.';

ALTER TABLE audit DROP CONSTRAINT audit_kind_check;
ALTER TABLE audit ADD CONSTRAINT audit_kind_check CHECK (kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED', 'DELETED', 'PERMIT_KEY_ROTATED'));
COMMENT ON COLUMN audit.kind IS 'FILE_APPLIED: thresholds of the config file. THRESHOLDS: thresholds of a service, set through the API. SERVICE_OVERRIDE: service-wide override. PERMIT_KEY_ROTATED: new key of permits. All other kinds concern one breaker.';
COMMENT ON COLUMN changes.kind IS 'FILE_APPLIED: thresholds of the config file. THRESHOLDS: thresholds of a service, set through the API. SERVICE_OVERRIDE: service-wide override. PERMIT_KEY_ROTATED: new key of permits. All other kinds concern one breaker.';

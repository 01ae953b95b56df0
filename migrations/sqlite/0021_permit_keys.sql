-- Several keys of permits, so that the key can be changed while breakerd runs.

CREATE TABLE permit_key (
    number         INTEGER NOT NULL PRIMARY KEY CHECK (number BETWEEN 1 AND 4294967295),
    secret         BLOB    NOT NULL CHECK (length(secret) = 16),
    created_at_us  INTEGER NOT NULL,
    seals_since_us INTEGER
) STRICT;
INSERT INTO permit_key (number, secret, created_at_us, seals_since_us)
SELECT 1, permit_key, created_at_us, created_at_us FROM meta;

-- SQLite changes no CHECK of a table that is there. So the table is made anew; views that read it are left as they are.
PRAGMA legacy_alter_table = ON;
CREATE TABLE audit_new (
    revision       INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    occurred_at_us INTEGER,
    actor          TEXT    NOT NULL,
    reason         TEXT,
    kind           TEXT    NOT NULL CHECK (kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED', 'DELETED', 'PERMIT_KEY_ROTATED')),
    service        TEXT    NOT NULL DEFAULT '',
    name           TEXT    NOT NULL DEFAULT '',
    before         TEXT    CHECK (json_valid(before)),
    after          TEXT    CHECK (json_valid(after)),
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_new (revision, number, recorded_at_us, occurred_at_us, actor, reason, kind, service, name, before, after)
SELECT revision, number, recorded_at_us, occurred_at_us, actor, reason, kind, service, name, before, after
FROM audit
ORDER BY revision, number;
DROP TABLE audit;
ALTER TABLE audit_new RENAME TO audit;
CREATE INDEX audit_service ON audit (service, revision, number);
PRAGMA legacy_alter_table = OFF;

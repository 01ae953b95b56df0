-- Deletions of breakers stand in the audit too.

-- SQLite changes no CHECK of a table that is there. So the table is made anew; views that read it are left as they are.
PRAGMA legacy_alter_table = ON;
CREATE TABLE audit_with_deleted (
    revision       INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    actor          TEXT    NOT NULL,
    reason         TEXT,
    before         TEXT    CHECK (json_valid(before)),
    after          TEXT    CHECK (json_valid(after)),
    kind           TEXT    NOT NULL DEFAULT 'DECLARED' CHECK (kind IN ('DECLARED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED', 'DELETED')),
    service        TEXT    NOT NULL DEFAULT '',
    name           TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (revision, number)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_with_deleted (revision, number, recorded_at_us, actor, reason, before, after, kind, service, name)
SELECT revision, number, recorded_at_us, actor, reason, before, after, kind, service, name FROM audit;
DROP TABLE audit;
ALTER TABLE audit_with_deleted RENAME TO audit;
CREATE INDEX audit_service ON audit (service, revision, number);
PRAGMA legacy_alter_table = OFF;

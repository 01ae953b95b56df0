-- A database that went back (a promoted standby that was behind, a restored backup), while several replicas use it.

ALTER TABLE meta ADD COLUMN postgres_timeline text CHECK (postgres_timeline ~ '^[0-9A-F]{8}$');
ALTER TABLE meta ADD COLUMN timeline_revision bigint NOT NULL DEFAULT 0 CHECK (timeline_revision >= 0);
ALTER TABLE meta ADD COLUMN compatible_from bigint NOT NULL DEFAULT 0 CHECK (compatible_from >= 0);
COMMENT ON COLUMN meta.timeline IS 'Timeline of the store. Increases when breakerd finds that the database went back: a restored backup or, with several replicas, a promoted standby. Permits and resume tokens of an earlier timeline are invalid.';
COMMENT ON COLUMN meta.postgres_timeline IS 'Timeline of Postgres (the first 8 digits of the names of its WAL files) for which meta.timeline was chosen. On another one, replicas write nothing until one of them has started a new meta.timeline. NULL until the first start since migration 0019.';
COMMENT ON COLUMN meta.timeline_revision IS 'Revision that started meta.timeline. 0 if it never changed, or not since migration 0019.';
COMMENT ON COLUMN meta.compatible_from IS 'Newest migration that a replica must know to write to this database. A replica that does not know it only decides, and says so.';

ALTER TABLE breaker ADD COLUMN reconciled_epoch bigint CHECK (reconciled_epoch >= 0);
COMMENT ON COLUMN breaker.reconciled_epoch IS 'Epoch of an earlier meta.timeline whose state this row took up again after the database went back. NULL after any later transition.';

ALTER TABLE transition ADD COLUMN timeline bigint CHECK (timeline >= 0);
COMMENT ON COLUMN transition.timeline IS 'meta.timeline in which the transition was decided. NULL before migration 0019, and while a single process serves the store.';

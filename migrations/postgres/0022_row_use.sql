-- Which rows of breakers replicas use, so that those that none uses can go.

-- The default is the time of this migration for the rows that there are, which are not rewritten for it.
ALTER TABLE breaker ADD COLUMN used_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN breaker.used_at IS 'Last time a replica said that it uses this breaker, or its first transition, by the clock of this database. Replicas say it every 6 hours. Of no meaning while a single process serves the store.';

ALTER TABLE meta ADD COLUMN let_go_epoch bigint NOT NULL DEFAULT 0 CHECK (let_go_epoch >= 0);
COMMENT ON COLUMN meta.let_go_epoch IS 'Largest epoch of the breakers whose rows were deleted because they were not used any more. A replica that still knows such a breaker continues from its epoch.';

-- The replicas that share this store. Unlogged: each writes its row every second, and a crash of the database loses nothing.

CREATE UNLOGGED TABLE replica (
    name        text COLLATE "C" NOT NULL,
    boot        text        NOT NULL CHECK (boot ~ '^[0-9a-f]{16}$'),
    version     text        NOT NULL,
    started_at  timestamptz NOT NULL,
    revision    bigint      NOT NULL CHECK (revision >= 0),
    waiting     bigint      NOT NULL CHECK (waiting >= 0),
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (name, boot)
) WITH (fillfactor = 50);
COMMENT ON TABLE replica IS 'Replicas that share this database, one row per process. Each writes its row every second, and deletes it when it stops. Rows not written for 10 minutes are deleted. Empty while a single process serves the store.';
COMMENT ON COLUMN replica.name IS 'Name of the replica, as in transition.replica.';
COMMENT ON COLUMN replica.boot IS 'Random number of the process, as in transition.boot.';
COMMENT ON COLUMN replica.version IS 'Version of breakerd.';
COMMENT ON COLUMN replica.started_at IS 'Start of the process, by the clock of this database.';
COMMENT ON COLUMN replica.revision IS 'Newest revision that the replica has read.';
COMMENT ON COLUMN replica.waiting IS 'Transitions in the journal of the replica that are not in this database yet.';
COMMENT ON COLUMN replica.seen_at IS 'Last write of this row, by the clock of this database. A replica that is not seen for 3 seconds is stopped, or has no connection.';

-- What replicas count together of breakers that fail. The table was reserved for that and has always been empty, so it is made anew.
-- Rows live for seconds, and are rewritten five times a second: unlogged, and with room for the new version on the same page.

DROP TABLE counts;
CREATE UNLOGGED TABLE counts (
    service    text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    boot       bigint      NOT NULL,
    epoch      bigint      NOT NULL,
    replica    text        NOT NULL,
    timeline   bigint      NOT NULL,
    successes  bigint      NOT NULL,
    failures   bigint      NOT NULL,
    slow_calls bigint      NOT NULL,
    detail     bytea       NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (service, name, boot, epoch)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE counts IS 'Counters of failing breakers per replica, which the replicas read from each other. Rows older than 10 seconds are deleted. Unlogged: emptied by a crash of the database.';
COMMENT ON COLUMN counts.service IS 'Service of the breaker.';
COMMENT ON COLUMN counts.name IS 'Name of the breaker.';
COMMENT ON COLUMN counts.boot IS 'Random id of the process that counted, drawn at its start.';
COMMENT ON COLUMN counts.epoch IS 'Epoch of the breaker that the counters belong to.';
COMMENT ON COLUMN counts.replica IS 'Replica that counted.';
COMMENT ON COLUMN counts.timeline IS 'Timeline of the store that the epoch belongs to.';
COMMENT ON COLUMN counts.successes IS 'Successful calls that this replica counted since the breaker began to fail, with those in its window before. Only increases.';
COMMENT ON COLUMN counts.failures IS 'Failed calls, likewise.';
COMMENT ON COLUMN counts.slow_calls IS 'Slow calls, likewise.';
COMMENT ON COLUMN counts.detail IS 'The same counters by kind and by age, the present run of failures and the callers that reported failures, for replicas only.';
COMMENT ON COLUMN counts.written_at IS 'Time when the replica wrote the row, by the clock of this database.';

CREATE UNLOGGED TABLE counting_replica (
    boot    bigint      PRIMARY KEY,
    replica text        NOT NULL,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE counting_replica IS 'Replicas that exchange counters. A replica is live for 3 seconds after its last exchange. Unlogged: emptied by a crash of the database.';
COMMENT ON COLUMN counting_replica.boot IS 'Random id of the process, drawn at its start.';
COMMENT ON COLUMN counting_replica.replica IS 'Name of the replica.';
COMMENT ON COLUMN counting_replica.seen_at IS 'Time of its last exchange, by the clock of this database.';

-- The probes that replicas share. The table was reserved for them and has always been empty, so it is made anew.

DROP TABLE probe;
CREATE TABLE probe (
    service     text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    epoch       bigint      NOT NULL,
    slot        bigint      NOT NULL CHECK (slot >= 0),
    nonce       bigint      NOT NULL,
    lease_until timestamptz,
    completion  bigint      CHECK (completion >= 0),
    failed      boolean,
    slow        boolean,
    written_at  timestamptz NOT NULL,
    PRIMARY KEY (service, name, epoch, slot),
    FOREIGN KEY (service, name) REFERENCES breaker ON DELETE CASCADE,
    CHECK (num_nulls(lease_until, completion) = 1 AND num_nulls(completion, failed, slow) IN (0, 3))
) WITH (fillfactor = 50);
COMMENT ON TABLE probe IS 'Probe slots that replicas claimed, one row per slot in flight or completed. Always empty while a single process serves the store: it keeps its probes in memory.';
COMMENT ON COLUMN probe.service IS 'Service of the breaker.';
COMMENT ON COLUMN probe.name IS 'Name of the breaker.';
COMMENT ON COLUMN probe.epoch IS 'Epoch of the half-open state. Slots of an epoch that is over are pruned 10 minutes after the last write to one of them.';
COMMENT ON COLUMN probe.slot IS 'Probe slot, from 0 to breaker.permitted - 1. A slot without a row is free.';
COMMENT ON COLUMN probe.nonce IS 'Random number of this claim of the slot.';
COMMENT ON COLUMN probe.lease_until IS 'Probe timeout: time when the slot is free again, by the clock of this database. NULL if the probe is completed.';
COMMENT ON COLUMN probe.completion IS 'Number of probes of this epoch that were completed before this one. NULL while the probe is in flight.';
COMMENT ON COLUMN probe.failed IS 'True if the outcome counts as a failure. NULL while the probe is in flight.';
COMMENT ON COLUMN probe.slow IS 'True if the outcome counts as a slow call. NULL while the probe is in flight.';
COMMENT ON COLUMN probe.written_at IS 'Time of the last write to this row, by the clock of this database.';

COMMENT ON COLUMN breaker.first_probe_at IS 'HALF_OPEN: time of the first probe, by the clock of this database. NULL before it, in other states, and while a single process serves the store.';

-- Replicas read the rows that others changed in the order of the revisions, a page at a time.
CREATE INDEX breaker_revision ON breaker (revision, service, name);

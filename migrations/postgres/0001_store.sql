-- What breakerd keeps. src/store/mod.rs says why each table is as it is; the comments below say what it holds.
--
-- Keys sort byte by byte (COLLATE "C"): pages come in one order whatever the locale of the database, and every
-- transaction locks rows in that order.

CREATE TABLE meta (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    store_id    text        NOT NULL CHECK (store_id ~ '^[0-9a-f]{16}$'),
    lineage     bigint      NOT NULL CHECK (lineage >= 0),
    permit_key  bytea       NOT NULL CHECK (length(permit_key) = 16),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE meta IS 'What this store is. One row, made at the first start.';
COMMENT ON COLUMN meta.store_id IS 'Random, made with the store.';
COMMENT ON COLUMN meta.lineage IS 'Counts up when the store went back (a restored backup): what was decided before means nothing after.';
COMMENT ON COLUMN meta.permit_key IS 'Secret: permits are sealed with it.';
COMMENT ON COLUMN meta.created_at IS 'When the store was made.';

CREATE TABLE revision (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    n           bigint      NOT NULL CHECK (n >= 0),
    holder      text
);
INSERT INTO revision (n) VALUES (0);
COMMENT ON TABLE revision IS 'The one counter that orders every change of configuration and state. One row, bumped by each transaction that changes either.';
COMMENT ON COLUMN revision.n IS 'The newest revision.';
COMMENT ON COLUMN revision.holder IS 'The process that may write: no other can bump the counter.';

CREATE TABLE change (
    rev         bigint      PRIMARY KEY,
    nonce       bigint      NOT NULL,
    recorded_at timestamptz NOT NULL
);
COMMENT ON TABLE change IS 'A row for each revision, for those who follow the store.';
COMMENT ON COLUMN change.rev IS 'The revision.';
COMMENT ON COLUMN change.nonce IS 'Random: the same revision with another nonce is another history (a restored backup).';
COMMENT ON COLUMN change.recorded_at IS 'When it was written.';

CREATE TABLE breaker (
    service             text COLLATE "C" NOT NULL,
    name                text COLLATE "C" NOT NULL,
    epoch               bigint      NOT NULL CHECK (epoch >= 0),
    state               text        NOT NULL CHECK (state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    attempts            bigint      NOT NULL CHECK (attempts >= 0),
    entered_at          timestamptz NOT NULL,
    wait_us             bigint      CHECK (wait_us >= 0),
    retry_after_us      bigint      CHECK (retry_after_us >= 0),
    open_until          timestamptz,
    override_actor      text,
    override_reason     text,
    override_expires_at timestamptz,
    permitted           bigint      CHECK (permitted > 0),
    failures_to_open    bigint      CHECK (failures_to_open > 0),
    slow_to_open        bigint      CHECK (slow_to_open > 0),
    lease_us            bigint      CHECK (lease_us > 0),
    max_wait_us         bigint      CHECK (max_wait_us > 0),
    after_max_wait      text        CHECK (after_max_wait IN ('OPEN', 'CLOSED')),
    first_probe_at      timestamptz,
    config_revision     bigint      NOT NULL CHECK (config_revision >= 0),
    revision            bigint      NOT NULL,
    PRIMARY KEY (service, name)
);
COMMENT ON TABLE breaker IS 'The newest state of each breaker. A breaker without a row is CLOSED at epoch 0. Look at the view current_state.';
COMMENT ON COLUMN breaker.service IS 'The service whose thresholds judge it.';
COMMENT ON COLUMN breaker.name IS 'Its name within the service; the service''s own when none was given.';
COMMENT ON COLUMN breaker.epoch IS 'How many transitions led here: the guard of every proposal.';
COMMENT ON COLUMN breaker.state IS 'CLOSED lets calls pass; FORCED_OPEN, DISABLED and METRICS_ONLY were set by hand.';
COMMENT ON COLUMN breaker.attempts IS 'How often it opened since it last closed.';
COMMENT ON COLUMN breaker.entered_at IS 'When this state was entered.';
COMMENT ON COLUMN breaker.wait_us IS 'OPEN: how long it waits from entered_at, in microseconds.';
COMMENT ON COLUMN breaker.retry_after_us IS 'OPEN: the retry_after that was honoured in the wait, in microseconds.';
COMMENT ON COLUMN breaker.open_until IS 'OPEN: entered_at + wait, for people; what counts is the wait.';
COMMENT ON COLUMN breaker.override_actor IS 'Set by hand: by whom.';
COMMENT ON COLUMN breaker.override_reason IS 'Set by hand: why.';
COMMENT ON COLUMN breaker.override_expires_at IS 'Set by hand: until when; empty: until it is cleared.';
COMMENT ON COLUMN breaker.permitted IS 'HALF_OPEN: P, the probes that may be out or completed.';
COMMENT ON COLUMN breaker.failures_to_open IS 'HALF_OPEN: F_fail, the failed probes that reopen.';
COMMENT ON COLUMN breaker.slow_to_open IS 'HALF_OPEN: F_slow, the slow probes that reopen; empty: slowness does not.';
COMMENT ON COLUMN breaker.lease_us IS 'HALF_OPEN: how long a probe may be out, in microseconds.';
COMMENT ON COLUMN breaker.max_wait_us IS 'HALF_OPEN: how long it may last from its first probe, in microseconds; empty: until there is a verdict.';
COMMENT ON COLUMN breaker.after_max_wait IS 'HALF_OPEN: what it turns to after max_wait_us.';
COMMENT ON COLUMN breaker.first_probe_at IS 'HALF_OPEN: when the first probe was given; for several replicas.';
COMMENT ON COLUMN breaker.config_revision IS 'The revision of the thresholds in force when the state was entered.';
COMMENT ON COLUMN breaker.revision IS 'The revision that wrote this row.';

CREATE TABLE probe (
    service     text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    epoch       bigint      NOT NULL,
    slot        bigint      NOT NULL CHECK (slot >= 0),
    nonce       bigint      NOT NULL,
    holder      text        NOT NULL,
    lease_until timestamptz NOT NULL,
    result      text        CHECK (result IN ('SUCCESS', 'FAILURE', 'SLOW')),
    PRIMARY KEY (service, name, epoch, slot),
    FOREIGN KEY (service, name) REFERENCES breaker ON DELETE CASCADE
);
COMMENT ON TABLE probe IS 'Probes claimed by replicas. Empty while one process has the store: it keeps its probes in memory.';
COMMENT ON COLUMN probe.service IS 'The breaker''s service.';
COMMENT ON COLUMN probe.name IS 'The breaker''s name.';
COMMENT ON COLUMN probe.epoch IS 'The half-open that it belongs to.';
COMMENT ON COLUMN probe.slot IS 'Its place, from 0, below breaker.permitted.';
COMMENT ON COLUMN probe.nonce IS 'Tells this holder of the place from the one before.';
COMMENT ON COLUMN probe.holder IS 'The replica that claimed it.';
COMMENT ON COLUMN probe.lease_until IS 'When the place is free for another, by this database''s clock.';
COMMENT ON COLUMN probe.result IS 'How it went; empty: not known yet.';

-- What it grows by is dropped a partition at a time; until there are others, the default one takes every row.
CREATE TABLE transition (
    revision             bigint      NOT NULL,
    number               bigint      NOT NULL CHECK (number >= 0),
    replica              text        NOT NULL,
    boot                 text        NOT NULL CHECK (boot ~ '^[0-9a-f]{16}$'),
    seq                  bigint      NOT NULL,
    service              text COLLATE "C" NOT NULL,
    name                 text COLLATE "C" NOT NULL,
    from_state           text        NOT NULL CHECK (from_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    to_state             text        NOT NULL CHECK (to_state IN ('CLOSED', 'OPEN', 'HALF_OPEN', 'FORCED_OPEN', 'DISABLED', 'METRICS_ONLY')),
    reason               text        NOT NULL,
    epoch                bigint,
    base_epoch           bigint      NOT NULL,
    branch               bigint      NOT NULL DEFAULT 0,
    calls                bigint      NOT NULL,
    failures             bigint      NOT NULL,
    slow_calls           bigint      NOT NULL,
    failure_rate         numeric     GENERATED ALWAYS AS (round(failures * 100000 / nullif(calls, 0) / 1000.0, 3)) STORED,
    slow_call_rate       numeric     GENERATED ALWAYS AS (round(slow_calls * 100000 / nullif(calls, 0) / 1000.0, 3)) STORED,
    consecutive_failures bigint      NOT NULL,
    consecutive_successes bigint     NOT NULL,
    reporters            bigint      NOT NULL,
    attempts             bigint      NOT NULL,
    wait_us              bigint,
    retry_after_us       bigint,
    actor                text,
    override_reason      text,
    missing              bigint      NOT NULL DEFAULT 0,
    shadow               boolean     NOT NULL,
    alone                boolean     NOT NULL,
    superseded_by        bigint,
    config_revision      bigint      NOT NULL,
    occurred_at          timestamptz NOT NULL,
    recorded_at          timestamptz NOT NULL
) PARTITION BY RANGE (recorded_at);
CREATE TABLE transition_default PARTITION OF transition DEFAULT;
CREATE INDEX transition_place ON transition (revision, number);
CREATE INDEX transition_breaker ON transition (service, name, revision, number);
CREATE INDEX transition_occurred_at ON transition (occurred_at);
COMMENT ON TABLE transition IS 'The history: a row for every change of state, only ever added to. Look at the view history.';
COMMENT ON COLUMN transition.revision IS 'The transaction that wrote it; with number, its place in the history.';
COMMENT ON COLUMN transition.number IS 'Its number within the transaction, from 0.';
COMMENT ON COLUMN transition.replica IS 'The replica that made the change; with boot and seq, the id of the change.';
COMMENT ON COLUMN transition.boot IS 'Random for each life of the replica''s process.';
COMMENT ON COLUMN transition.seq IS 'Counts up within that life.';
COMMENT ON COLUMN transition.service IS 'The breaker''s service.';
COMMENT ON COLUMN transition.name IS 'The breaker''s name.';
COMMENT ON COLUMN transition.from_state IS 'The state that was left.';
COMMENT ON COLUMN transition.to_state IS 'The state that was entered; of a shadow, the one that would have been.';
COMMENT ON COLUMN transition.reason IS 'Why: CONSECUTIVE_FAILURES, FAILURE_RATE, WAIT_ELAPSED, ...';
COMMENT ON COLUMN transition.epoch IS 'The epoch that was entered; empty of a shadow, a gap and a superseded change, which entered none.';
COMMENT ON COLUMN transition.base_epoch IS 'The epoch that was left.';
COMMENT ON COLUMN transition.branch IS '0: what all agree on; else what a replica did by itself while the store was away.';
COMMENT ON COLUMN transition.calls IS 'Calls in the window, or probes completed, in the state that was left.';
COMMENT ON COLUMN transition.failures IS 'Failures among the calls.';
COMMENT ON COLUMN transition.slow_calls IS 'Slow calls among the calls.';
COMMENT ON COLUMN transition.failure_rate IS 'Percent of the calls; empty without a call.';
COMMENT ON COLUMN transition.slow_call_rate IS 'Percent of the calls; empty without a call.';
COMMENT ON COLUMN transition.consecutive_failures IS 'Failures since the last success.';
COMMENT ON COLUMN transition.consecutive_successes IS 'Successes since the last failure.';
COMMENT ON COLUMN transition.reporters IS 'Distinct callers whose failures counted; 0 when one is enough.';
COMMENT ON COLUMN transition.attempts IS 'How often it had opened since it last closed, this time included.';
COMMENT ON COLUMN transition.wait_us IS 'Into OPEN: how long it waits, in microseconds.';
COMMENT ON COLUMN transition.retry_after_us IS 'Into OPEN: the retry_after that was honoured in the wait, in microseconds.';
COMMENT ON COLUMN transition.actor IS 'Who asked for it; empty: breakerd itself.';
COMMENT ON COLUMN transition.override_reason IS 'Set by hand: why, in the actor''s words.';
COMMENT ON COLUMN transition.missing IS 'A gap: how many changes before this row are missing, because the journal was full.';
COMMENT ON COLUMN transition.shadow IS 'METRICS_ONLY kept it from happening.';
COMMENT ON COLUMN transition.alone IS 'Decided while the store was away.';
COMMENT ON COLUMN transition.superseded_by IS 'It did not come to stand: the epoch that stood instead.';
COMMENT ON COLUMN transition.config_revision IS 'The revision of the thresholds in force.';
COMMENT ON COLUMN transition.occurred_at IS 'When it happened.';
COMMENT ON COLUMN transition.recorded_at IS 'When it was written here.';

CREATE TABLE receipt (
    replica     text        NOT NULL,
    boot        text        NOT NULL,
    seq         bigint      NOT NULL,
    epoch       bigint,
    revision    bigint,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (replica, boot, seq)
);
COMMENT ON TABLE receipt IS 'What each change was answered: asked again, it gets the same answer and nothing is written twice.';
COMMENT ON COLUMN receipt.replica IS 'The id of the change, as in transition.';
COMMENT ON COLUMN receipt.boot IS 'The id of the change, as in transition.';
COMMENT ON COLUMN receipt.seq IS 'The id of the change, as in transition.';
COMMENT ON COLUMN receipt.epoch IS 'It won, under this epoch; empty: it lost.';
COMMENT ON COLUMN receipt.revision IS 'The transaction that took it in; empty: one that changed nothing.';
COMMENT ON COLUMN receipt.recorded_at IS 'When it was answered first.';

CREATE UNLOGGED TABLE counts (
    service      text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    epoch        bigint      NOT NULL,
    replica      text        NOT NULL,
    boot         text        NOT NULL,
    successes    bigint      NOT NULL,
    failures     bigint      NOT NULL,
    slow_calls   bigint      NOT NULL,
    window_totals jsonb      NOT NULL,
    reporters    bigint[]    NOT NULL,
    written_at   timestamptz NOT NULL,
    PRIMARY KEY (service, name, replica, boot)
);
COMMENT ON TABLE counts IS 'What each replica counts of a failing breaker. Empty while one process has the store. Unlogged: a crash of the database empties it, and no more is lost than a few calls.';
COMMENT ON COLUMN counts.service IS 'The breaker''s service.';
COMMENT ON COLUMN counts.name IS 'The breaker''s name.';
COMMENT ON COLUMN counts.epoch IS 'The epoch that it was counted in.';
COMMENT ON COLUMN counts.replica IS 'The replica that counted.';
COMMENT ON COLUMN counts.boot IS 'Random for each life of its process.';
COMMENT ON COLUMN counts.successes IS 'Successes in this epoch, ever growing.';
COMMENT ON COLUMN counts.failures IS 'Failures in this epoch, ever growing.';
COMMENT ON COLUMN counts.slow_calls IS 'Slow calls in this epoch, ever growing.';
COMMENT ON COLUMN counts.window_totals IS 'What is in the replica''s window now, by age, for those who look for the first time.';
COMMENT ON COLUMN counts.reporters IS 'Hashes of the callers that saw the trouble.';
COMMENT ON COLUMN counts.written_at IS 'When the replica wrote it.';

CREATE TABLE declared (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    generation  bigint      CHECK (generation >= 0),
    content     jsonb       NOT NULL,
    revision    bigint      NOT NULL,
    declared_at timestamptz NOT NULL
);
COMMENT ON TABLE declared IS 'The thresholds that the file declares, as they were last taken over. One row, once there was a file.';
COMMENT ON COLUMN declared.generation IS 'The file''s release number: an older file does not replace it.';
COMMENT ON COLUMN declared.content IS '{"enabled", "defaults": {field: value}, "services": {service: {field: value}}}';
COMMENT ON COLUMN declared.revision IS 'The revision that wrote it.';
COMMENT ON COLUMN declared.declared_at IS 'When it was written.';

CREATE TABLE config_change (
    revision    bigint      NOT NULL,
    number      bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor       text        NOT NULL,
    reason      text,
    what        text        NOT NULL,
    before      jsonb,
    after       jsonb,
    PRIMARY KEY (revision, number)
);
COMMENT ON TABLE config_change IS 'Every change of configuration: who, when, why, what was before and after. Only ever added to.';
COMMENT ON COLUMN config_change.revision IS 'The transaction that made it.';
COMMENT ON COLUMN config_change.number IS 'Its number within the transaction, from 0.';
COMMENT ON COLUMN config_change.recorded_at IS 'When it was made.';
COMMENT ON COLUMN config_change.actor IS 'Who made it: file, or who called.';
COMMENT ON COLUMN config_change.reason IS 'Why, in the actor''s words.';
COMMENT ON COLUMN config_change.what IS 'What was changed: declared is the layers of the file.';
COMMENT ON COLUMN config_change.before IS 'What it was; empty: nothing.';
COMMENT ON COLUMN config_change.after IS 'What it is; empty: nothing any more.';

CREATE VIEW current_state AS
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
    revision
FROM breaker;
COMMENT ON VIEW current_state IS 'The newest state of each breaker that ever changed, for people. The same columns in SQLite.';

CREATE VIEW history AS
SELECT
    occurred_at AS at,
    service,
    name,
    from_state,
    to_state,
    reason,
    CASE
        WHEN missing > 0 THEN 'gap'
        WHEN shadow THEN 'shadow'
        WHEN superseded_by IS NOT NULL THEN 'superseded'
        ELSE 'change'
    END AS kind,
    epoch,
    calls,
    failures,
    failure_rate,
    slow_calls,
    slow_call_rate,
    consecutive_failures,
    consecutive_successes,
    reporters,
    attempts,
    round(wait_us / 1000000.0, 3) AS wait_s,
    actor,
    override_reason AS why,
    missing,
    alone,
    replica,
    config_revision,
    recorded_at,
    revision,
    number
FROM transition;
COMMENT ON VIEW history IS 'Every change of state, for people: ORDER BY revision, number is the order they were written in. kind: change, or what changed nothing (shadow, gap, superseded). The same columns in SQLite.';

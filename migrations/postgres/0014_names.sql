-- The names that an engineer would search for, before the first release. Views keep their rights: their columns are renamed
-- in place.

ALTER TABLE transition RENAME COLUMN attempts TO open_count;
ALTER TABLE transition RENAME COLUMN missing TO lost_transitions;
ALTER TABLE transition RENAME COLUMN alone TO store_unavailable;

ALTER TABLE breaker RENAME COLUMN attempts TO open_count;
ALTER TABLE breaker RENAME CONSTRAINT breaker_attempts_check TO breaker_open_count_check;

ALTER TABLE episode RENAME COLUMN missing TO lost_transitions;

ALTER TABLE meta RENAME COLUMN lineage TO timeline;
ALTER TABLE meta RENAME CONSTRAINT meta_lineage_check TO meta_timeline_check;

ALTER TABLE declared RENAME TO file_config;
ALTER TABLE file_config RENAME COLUMN declared_at TO applied_at;
ALTER TABLE file_config RENAME CONSTRAINT declared_pkey TO file_config_pkey;
ALTER TABLE file_config RENAME CONSTRAINT declared_only_row_check TO file_config_only_row_check;
ALTER TABLE file_config RENAME CONSTRAINT declared_generation_check TO file_config_generation_check;

ALTER TABLE audit DROP CONSTRAINT audit_kind_check;
UPDATE audit SET kind = 'FILE_APPLIED' WHERE kind = 'DECLARED';
ALTER TABLE audit ADD CONSTRAINT audit_kind_check CHECK (kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE', 'OVERRIDE_SET', 'OVERRIDE_CLEARED', 'RESET', 'PROBE_REQUESTED', 'DELETED'));

ALTER VIEW current_state RENAME COLUMN attempts TO open_count;

ALTER VIEW history RENAME COLUMN attempts TO open_count;
ALTER VIEW history RENAME COLUMN missing TO lost_transitions;
ALTER VIEW history RENAME COLUMN alone TO store_unavailable;

ALTER VIEW episodes RENAME COLUMN missing TO lost_transitions;

ALTER VIEW transitions_with_change RENAME COLUMN attempts TO open_count;
ALTER VIEW transitions_with_change RENAME COLUMN missing TO lost_transitions;
ALTER VIEW transitions_with_change RENAME COLUMN alone TO store_unavailable;

CREATE OR REPLACE VIEW transitions_with_change AS
SELECT
    history.*,
    audit.recorded_at AS change_at,
    audit.kind AS change_kind,
    audit.actor AS change_actor,
    audit.reason AS change_why,
    round(extract(epoch FROM history.at - audit.recorded_at)::numeric, 3) AS seconds_after_change,
    audit.revision AS change_revision
FROM history
LEFT JOIN audit ON audit.number = 0 AND audit.revision = greatest(
    (
        SELECT CASE WHEN own.service = history.service THEN own.revision END FROM audit AS own
        WHERE (own.service, own.revision) < (history.service, history.revision)
            AND own.kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY own.service DESC, own.revision DESC LIMIT 1
    ),
    (
        SELECT whole.revision FROM audit AS whole
        WHERE (whole.service, whole.revision) < ('', history.revision)
            AND whole.kind IN ('FILE_APPLIED', 'THRESHOLDS', 'SERVICE_OVERRIDE')
        ORDER BY whole.service DESC, whole.revision DESC LIMIT 1
    )
);

COMMENT ON TABLE meta IS 'Identity of this store. One row, written at the first start.';
COMMENT ON COLUMN meta.store_id IS 'Random id of the store, drawn at the first start.';
COMMENT ON COLUMN meta.timeline IS 'Timeline of the store. Increases when breakerd finds a restored backup. Permits and resume tokens of an earlier timeline are invalid.';
COMMENT ON COLUMN meta.permit_key IS 'Secret key that seals permits.';
COMMENT ON COLUMN meta.created_at IS 'Time of the first start.';

COMMENT ON TABLE revision IS 'Counter that orders all changes of configuration and state. One row, incremented by each transaction that changes either.';
COMMENT ON COLUMN revision.n IS 'Newest revision.';
COMMENT ON COLUMN revision.holder IS 'Process that may write. Transactions of other processes fail.';

COMMENT ON TABLE change IS 'One row per revision. Detects a restored backup, and lets replicas follow the store.';
COMMENT ON COLUMN change.rev IS 'Revision.';
COMMENT ON COLUMN change.nonce IS 'Random number of the revision. A different nonce for the same revision means that a backup was restored.';
COMMENT ON COLUMN change.recorded_at IS 'Time of the transaction.';

COMMENT ON TABLE breaker IS 'Current state of each breaker. A breaker without a row is CLOSED at epoch 0. For queries use the view current_state.';
COMMENT ON COLUMN breaker.service IS 'Service of the breaker. Its thresholds apply.';
COMMENT ON COLUMN breaker.name IS 'Name of the breaker within the service. The default breaker has the name of the service.';
COMMENT ON COLUMN breaker.epoch IS 'Number of state transitions so far. A transition is written only if it starts from this epoch.';
COMMENT ON COLUMN breaker.state IS 'CLOSED allows calls, OPEN rejects them, HALF_OPEN allows probes. FORCED_OPEN, DISABLED and METRICS_ONLY are overrides.';
COMMENT ON COLUMN breaker.open_count IS 'Times opened since the breaker was last closed.';
COMMENT ON COLUMN breaker.entered_at IS 'Time when the breaker entered this state.';
COMMENT ON COLUMN breaker.wait_us IS 'Open-state wait from entered_at, in microseconds. NULL if the state is not OPEN.';
COMMENT ON COLUMN breaker.retry_after_us IS 'retry_after of a reported outcome that the open-state wait includes, in microseconds. NULL if there was none.';
COMMENT ON COLUMN breaker.open_until IS 'End of the open-state wait: entered_at + wait_us. Informational, breakerd uses wait_us. NULL if the state is not OPEN.';
COMMENT ON COLUMN breaker.override_actor IS 'Who set the override. NULL without an override.';
COMMENT ON COLUMN breaker.override_reason IS 'Reason of the override, in the words of the actor. NULL without an override.';
COMMENT ON COLUMN breaker.override_expires_at IS 'End of the override. NULL if it lasts until it is cleared, or without an override.';
COMMENT ON COLUMN breaker.override_scope IS 'BREAKER: override of this breaker. SERVICE: service-wide override. NULL without an override.';
COMMENT ON COLUMN breaker.override_ttl_us IS 'Duration of the override, in microseconds. NULL if it ends at override_expires_at by the wall clock, or when it is cleared.';
COMMENT ON COLUMN breaker.permitted IS 'HALF_OPEN: maximum number of probes, in flight and completed together.';
COMMENT ON COLUMN breaker.failures_to_open IS 'HALF_OPEN: number of failed probes that reopens the breaker.';
COMMENT ON COLUMN breaker.slow_to_open IS 'HALF_OPEN: number of slow probes that reopens the breaker. NULL if slow probes do not reopen it.';
COMMENT ON COLUMN breaker.lease_us IS 'HALF_OPEN: probe timeout, in microseconds.';
COMMENT ON COLUMN breaker.max_wait_us IS 'HALF_OPEN: maximum duration from the first probe, in microseconds. NULL if unlimited.';
COMMENT ON COLUMN breaker.after_max_wait IS 'HALF_OPEN: state after max_wait_us, OPEN or CLOSED.';
COMMENT ON COLUMN breaker.first_probe_at IS 'HALF_OPEN: time of the first probe. Reserved for multiple replicas, always NULL.';
COMMENT ON COLUMN breaker.config_revision IS 'Revision of the thresholds that were effective when the breaker entered this state.';
COMMENT ON COLUMN breaker.revision IS 'Revision of the transaction that wrote this row.';
COMMENT ON COLUMN breaker.entered_by IS 'The transition that led to this state, as JSON: previous state, reason and statistics of the previous state. NULL if not known (after a history gap, or written by a version before migration 0010).';
COMMENT ON COLUMN breaker.episode IS 'The outage in progress, as JSON. Times and durations in microseconds; numbers that are 0 are omitted. NULL if there is no outage, or if its start is not known.';

COMMENT ON TABLE probe IS 'Probes claimed by replicas. Reserved for multiple replicas, always empty: a single process keeps its probes in memory.';
COMMENT ON COLUMN probe.service IS 'Service of the breaker.';
COMMENT ON COLUMN probe.name IS 'Name of the breaker.';
COMMENT ON COLUMN probe.epoch IS 'Epoch of the half-open state.';
COMMENT ON COLUMN probe.slot IS 'Probe slot, from 0 to breaker.permitted - 1.';
COMMENT ON COLUMN probe.nonce IS 'Random number of this claim of the slot.';
COMMENT ON COLUMN probe.holder IS 'Replica that claimed the slot.';
COMMENT ON COLUMN probe.lease_until IS 'Probe timeout: time when the slot is free again, by the clock of this database.';
COMMENT ON COLUMN probe.result IS 'SUCCESS, FAILURE or SLOW. NULL while the probe is in flight.';

COMMENT ON TABLE transition IS 'History: one row per state transition, shadow transition, superseded transition and history gap. Append-only; old rows are pruned. For queries use the view history.';
COMMENT ON COLUMN transition.revision IS 'Revision of the transaction that wrote the row. Order of the history: revision, number.';
COMMENT ON COLUMN transition.number IS 'Number of the row within the transaction, from 0.';
COMMENT ON COLUMN transition.replica IS 'Replica that made the transition. replica, boot and seq identify a transition.';
COMMENT ON COLUMN transition.boot IS 'Random id of the process, drawn at its start.';
COMMENT ON COLUMN transition.seq IS 'Sequence number within the process.';
COMMENT ON COLUMN transition.service IS 'Service of the breaker.';
COMMENT ON COLUMN transition.name IS 'Name of the breaker.';
COMMENT ON COLUMN transition.from_state IS 'Previous state.';
COMMENT ON COLUMN transition.to_state IS 'New state. For a shadow transition, the state that METRICS_ONLY prevented.';
COMMENT ON COLUMN transition.reason IS 'Reason of the transition: CONSECUTIVE_FAILURES, FAILURE_RATE, WAIT_ELAPSED, ...';
COMMENT ON COLUMN transition.epoch IS 'New epoch of the breaker. NULL if the state did not change: shadow transition, superseded transition, and history gap without a known state after it.';
COMMENT ON COLUMN transition.base_epoch IS 'Epoch that the transition started from.';
COMMENT ON COLUMN transition.branch IS 'Reserved for multiple replicas, always 0.';
COMMENT ON COLUMN transition.calls IS 'Protected calls in the window of the previous state. For HALF_OPEN, completed probes.';
COMMENT ON COLUMN transition.failures IS 'Failed calls among them.';
COMMENT ON COLUMN transition.slow_calls IS 'Slow calls among them.';
COMMENT ON COLUMN transition.consecutive_failures IS 'Consecutive failures since the last success.';
COMMENT ON COLUMN transition.consecutive_successes IS 'Consecutive successes since the last failure.';
COMMENT ON COLUMN transition.reporters IS 'Distinct reporters of the counted failures. 0 if minimum_reporters is 1.';
COMMENT ON COLUMN transition.open_count IS 'Times opened since the breaker was last closed, including this transition.';
COMMENT ON COLUMN transition.wait_us IS 'Open-state wait, in microseconds. NULL if the new state is not OPEN.';
COMMENT ON COLUMN transition.retry_after_us IS 'retry_after of a reported outcome that the open-state wait includes, in microseconds. NULL if there was none.';
COMMENT ON COLUMN transition.actor IS 'Who requested the transition. breakerd for a history gap. NULL if breakerd decided it.';
COMMENT ON COLUMN transition.override_reason IS 'Reason of an operator action, in the words of the actor. For a history gap, its cause. NULL if breakerd decided the transition.';
COMMENT ON COLUMN transition.lost_transitions IS 'History gap: number of transitions before this row that were lost, because the journal was full or could not be written. 0 for all other rows.';
COMMENT ON COLUMN transition.shadow IS 'True for a shadow transition: METRICS_ONLY prevented it.';
COMMENT ON COLUMN transition.store_unavailable IS 'True if the transition was decided during a store outage.';
COMMENT ON COLUMN transition.superseded_by IS 'Superseded transition: epoch of the transition that won the write conflict. NULL for all other rows.';
COMMENT ON COLUMN transition.config_revision IS 'Revision of the thresholds that were effective.';
COMMENT ON COLUMN transition.occurred_at IS 'Time of the transition.';
COMMENT ON COLUMN transition.recorded_at IS 'Time when the row was persisted here.';
COMMENT ON COLUMN transition.lasted_us IS 'Duration of the previous state, in microseconds, by a monotonic clock (across a restart by the wall clock). NULL if not known, or if the state did not change.';
COMMENT ON COLUMN transition.rejected_calls IS 'Calls rejected in the previous state, since it was entered or since the last restart.';
COMMENT ON COLUMN transition.error_class IS 'Error class of the outcome that caused the transition. NULL if it had none, or if no outcome caused it.';
COMMENT ON COLUMN transition.caller IS 'Self-declared caller label of that outcome. NULL if it had none.';

COMMENT ON TABLE receipt IS 'Idempotency records of persisted transitions: a transition that is sent again gets the same result and is not written again. One row per range of sequence numbers.';
COMMENT ON COLUMN receipt.replica IS 'As transition.replica.';
COMMENT ON COLUMN receipt.boot IS 'As transition.boot.';
COMMENT ON COLUMN receipt.first_seq IS 'First sequence number of the range.';
COMMENT ON COLUMN receipt.last_seq IS 'Last sequence number of the range, at most first_seq + 999.';
COMMENT ON COLUMN receipt.epochs IS 'JSON array, one item per transition of the range: its epoch, or null if it was superseded or ignored.';
COMMENT ON COLUMN receipt.revision IS 'Revision of the transaction that wrote the transitions. NULL if the transaction changed nothing.';
COMMENT ON COLUMN receipt.recorded_at IS 'Time of the first result.';

COMMENT ON TABLE counts IS 'Counters of failing breakers per replica. Reserved for multiple replicas, always empty. Unlogged: emptied by a crash of the database.';
COMMENT ON COLUMN counts.service IS 'Service of the breaker.';
COMMENT ON COLUMN counts.name IS 'Name of the breaker.';
COMMENT ON COLUMN counts.epoch IS 'Epoch of the breaker that the counters belong to.';
COMMENT ON COLUMN counts.replica IS 'Replica that counted.';
COMMENT ON COLUMN counts.boot IS 'Random id of the process, drawn at its start.';
COMMENT ON COLUMN counts.successes IS 'Successful calls in this epoch. Only increases.';
COMMENT ON COLUMN counts.failures IS 'Failed calls in this epoch. Only increases.';
COMMENT ON COLUMN counts.slow_calls IS 'Slow calls in this epoch. Only increases.';
COMMENT ON COLUMN counts.window_totals IS 'Current window of the replica, by age of the calls.';
COMMENT ON COLUMN counts.reporters IS 'Hashes of the distinct reporters of failures.';
COMMENT ON COLUMN counts.written_at IS 'Time when the replica wrote the row.';

COMMENT ON TABLE file_config IS 'Thresholds loaded from the config file, as last applied. One row; none before the first file.';
COMMENT ON COLUMN file_config.generation IS 'Release number of the file (generation). A file with a lower number is not applied. NULL if the file has none.';
COMMENT ON COLUMN file_config.content IS '{"enabled", "defaults": {field: value}, "services": {service: {field: value}}}';
COMMENT ON COLUMN file_config.revision IS 'Revision of the transaction that wrote the row.';
COMMENT ON COLUMN file_config.applied_at IS 'Time when the file was applied.';

COMMENT ON TABLE audit IS 'Audit log: one row per change by the config file or an operator. Append-only; old rows are pruned. For queries use the view changes.';
COMMENT ON COLUMN audit.revision IS 'Revision of the transaction that made the change. Order of the audit log: revision, number.';
COMMENT ON COLUMN audit.number IS 'Number of the row within the transaction, from 0.';
COMMENT ON COLUMN audit.recorded_at IS 'Time when the row was persisted here.';
COMMENT ON COLUMN audit.actor IS 'Who made the change. file for the config file.';
COMMENT ON COLUMN audit.reason IS 'Reason of the change, in the words of the actor. NULL if none was given.';
COMMENT ON COLUMN audit.kind IS 'FILE_APPLIED: thresholds of the config file. THRESHOLDS: thresholds of a service, set through the API. SERVICE_OVERRIDE: service-wide override. All other kinds concern one breaker.';
COMMENT ON COLUMN audit.service IS 'Service. Empty for a change that can affect all services.';
COMMENT ON COLUMN audit.name IS 'Name of the breaker. Empty for a service-wide change, and for the file.';
COMMENT ON COLUMN audit.before IS 'Value before the change. NULL if there was none.';
COMMENT ON COLUMN audit.after IS 'Value after the change. NULL if it was removed.';
COMMENT ON COLUMN audit.occurred_at IS 'Time of the change. NULL if it is recorded_at.';

COMMENT ON TABLE config_head IS 'Newest revision of the configuration, and limits of pruned data. One row.';
COMMENT ON COLUMN config_head.revision IS 'Newest revision that changed the configuration. A change that was prepared from an older one is not written.';
COMMENT ON COLUMN config_head.forgotten IS 'Services whose configuration was removed at or before this revision may be absent from service_config.';
COMMENT ON COLUMN config_head.history_floor IS 'Newest revision with pruned history rows.';

COMMENT ON TABLE service_config IS 'One row per service that has, or had, a configuration of its own.';
COMMENT ON COLUMN service_config.service IS 'Service. Empty for the defaults, which apply to services without a configuration of their own.';
COMMENT ON COLUMN service_config.layer IS 'Thresholds set through the API, as {field: value}. NULL if none are set.';
COMMENT ON COLUMN service_config.revision IS 'Newest revision that changed the configuration of the service, by the file or through the API.';
COMMENT ON COLUMN service_config.changed_at IS 'Time of that change.';

COMMENT ON TABLE service_override IS 'Service-wide overrides. They also apply to breakers that are created later.';
COMMENT ON COLUMN service_override.service IS 'Service.';
COMMENT ON COLUMN service_override.kind IS 'State that the override sets: FORCED_OPEN, DISABLED or METRICS_ONLY.';
COMMENT ON COLUMN service_override.actor IS 'Who set the override.';
COMMENT ON COLUMN service_override.reason IS 'Reason of the override, in the words of the actor.';
COMMENT ON COLUMN service_override.set_at IS 'Time when the override was set.';
COMMENT ON COLUMN service_override.expires_at IS 'End of the override. NULL if it lasts until it is cleared.';
COMMENT ON COLUMN service_override.revision IS 'Revision of the transaction that wrote the row.';
COMMENT ON COLUMN service_override.ttl_us IS 'Duration of the override, in microseconds. NULL if it ends at expires_at by the wall clock, or when it is cleared.';

COMMENT ON TABLE config_request IS 'Idempotency records of configuration changes: a request that is sent again is not applied again. Kept for one day.';
COMMENT ON COLUMN config_request.id IS 'Request id, chosen by the client.';
COMMENT ON COLUMN config_request.digest IS 'Hash of the request.';
COMMENT ON COLUMN config_request.revision IS 'Revision of the change.';
COMMENT ON COLUMN config_request.recorded_at IS 'Time of the request.';

COMMENT ON TABLE episode IS 'One row per ended outage, written with the transition that ended it. An outage in progress is in breaker.episode. For queries use the view episodes.';
COMMENT ON COLUMN episode.revision IS 'Revision of the transaction that ended the outage. revision and number identify the row of transition that ended it.';
COMMENT ON COLUMN episode.number IS 'Number of that row within the transaction.';
COMMENT ON COLUMN episode.service IS 'Service of the breaker.';
COMMENT ON COLUMN episode.name IS 'Name of the breaker.';
COMMENT ON COLUMN episode.epoch IS 'Epoch at the start of the outage. Unique per service and name.';
COMMENT ON COLUMN episode.opened_at IS 'Start of the outage. If the start was lost in a history gap, its earliest known time.';
COMMENT ON COLUMN episode.half_open_at IS 'Time when the breaker was first HALF_OPEN. NULL if it never was.';
COMMENT ON COLUMN episode.closed_at IS 'End of the outage. NULL if it ended in a history gap.';
COMMENT ON COLUMN episode.lasted_us IS 'Duration of the outage, in microseconds. NULL if it ended in a history gap.';
COMMENT ON COLUMN episode.reason IS 'Reason of the transition that started the outage. HISTORY_GAP if that transition was lost.';
COMMENT ON COLUMN episode.actor IS 'Operator who started the outage. NULL if breakerd did.';
COMMENT ON COLUMN episode.why IS 'Reason of the operator action, in the words of the actor. NULL if breakerd started the outage.';
COMMENT ON COLUMN episode.failure_rate IS 'Failure rate at the start of the outage, in percent. NULL without calls.';
COMMENT ON COLUMN episode.slow_call_rate IS 'Slow call rate at the start of the outage, in percent. NULL without calls.';
COMMENT ON COLUMN episode.error_class IS 'Error class of the outcome that started the outage. NULL if it had none.';
COMMENT ON COLUMN episode.caller IS 'Self-declared caller label of that outcome. NULL if it had none.';
COMMENT ON COLUMN episode.reopened IS 'Number of times that probes reopened the breaker.';
COMMENT ON COLUMN episode.probes IS 'Completed probes.';
COMMENT ON COLUMN episode.rejected_calls IS 'Calls rejected. Rejections before a restart in the same state are not included.';
COMMENT ON COLUMN episode.lost_transitions IS 'Transitions lost in history gaps during the outage. If it is not 0, the other numbers can be too low.';
COMMENT ON COLUMN episode.ended_by IS 'Reason of the transition that ended the outage. HISTORY_GAP if that transition was lost.';
COMMENT ON COLUMN episode.recorded_at IS 'Time when the row was persisted here.';

COMMENT ON TABLE open_time IS 'Time in OPEN or FORCED_OPEN per breaker and UTC day, without the current state. For queries use the view time_open_by_day.';
COMMENT ON COLUMN open_time.day IS 'Day, in UTC.';
COMMENT ON COLUMN open_time.service IS 'Service of the breaker.';
COMMENT ON COLUMN open_time.name IS 'Name of the breaker.';
COMMENT ON COLUMN open_time.open_us IS 'Time in OPEN or FORCED_OPEN, in microseconds.';
COMMENT ON COLUMN open_time.openings IS 'Number of times that the breaker entered OPEN or FORCED_OPEN on that day.';

-- A column of a view has the comment of the column that it shows; where it differs, its own follows.
DO $$
DECLARE
    shown record;
BEGIN
    FOR shown IN
        SELECT pair.view_name, view_column.attname AS column_name,
               col_description(table_column.attrelid, table_column.attnum) AS comment
        FROM (VALUES ('current_state', 'breaker'), ('history', 'transition'), ('changes', 'audit'),
                     ('episodes', 'episode'), ('time_open_by_day', 'open_time'))
             AS pair (view_name, table_name)
        JOIN pg_attribute AS view_column
             ON view_column.attrelid = to_regclass(pair.view_name) AND view_column.attnum > 0
        JOIN pg_attribute AS table_column
             ON table_column.attrelid = to_regclass(pair.table_name) AND table_column.attnum > 0
                AND table_column.attname = view_column.attname
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', shown.view_name, shown.column_name, shown.comment);
    END LOOP;
END
$$;

COMMENT ON VIEW current_state IS 'Current state of each breaker that had a transition. Same columns on SQLite.';
COMMENT ON COLUMN current_state.since IS 'Time when the breaker entered this state.';
COMMENT ON COLUMN current_state.open_until IS 'End of the open-state wait. NULL if the state is not OPEN.';
COMMENT ON COLUMN current_state.wait_s IS 'Open-state wait, in seconds. NULL if the state is not OPEN.';
COMMENT ON COLUMN current_state.actor IS 'Who set the override. NULL without an override.';
COMMENT ON COLUMN current_state.why IS 'Reason of the override, in the words of the actor. NULL without an override.';
COMMENT ON COLUMN current_state.expires_at IS 'End of the override. NULL if it lasts until it is cleared, or without an override.';
COMMENT ON COLUMN current_state.scope IS 'BREAKER: override of this breaker. SERVICE: service-wide override. NULL without an override.';

COMMENT ON VIEW history IS 'State transitions, shadow transitions, superseded transitions and history gaps, see kind. Use ORDER BY revision, number. Same columns on SQLite.';
COMMENT ON COLUMN history.at IS 'Time of the transition.';
COMMENT ON COLUMN history.kind IS 'change: state transition. Without effect on the state: shadow (prevented by METRICS_ONLY), superseded (lost a write conflict). gap: transitions before this row were lost, see lost_transitions.';
COMMENT ON COLUMN history.lasted_s IS 'Duration of the previous state, in seconds. NULL if not known, or if the state did not change.';
COMMENT ON COLUMN history.failure_rate IS 'Failed calls, in percent of calls. NULL without calls.';
COMMENT ON COLUMN history.slow_call_rate IS 'Slow calls, in percent of calls. NULL without calls.';
COMMENT ON COLUMN history.wait_s IS 'Open-state wait, in seconds. NULL if the new state is not OPEN.';
COMMENT ON COLUMN history.why IS 'Reason of an operator action, in the words of the actor. For a history gap, its cause. NULL if breakerd decided the transition.';
COMMENT ON COLUMN history.late_s IS 'Delay between transition and persistence, in seconds. High after a store outage, with a slow store, or if clocks differ.';

COMMENT ON VIEW changes IS 'Audit log: changes by the config file and by operators. Use ORDER BY revision, number. Same columns on SQLite.';
COMMENT ON COLUMN changes.at IS 'Time of the change. During a store outage it is persisted later, so rows are not always in order of time.';
COMMENT ON COLUMN changes.why IS 'Reason of the change, in the words of the actor. NULL if none was given.';

COMMENT ON VIEW episodes IS 'Outages: from the transition to OPEN or FORCED_OPEN until the breaker is CLOSED, DISABLED or METRICS_ONLY again. Includes outages in progress. Same columns on SQLite.';
COMMENT ON COLUMN episodes.half_open_at IS 'Time when the breaker was first HALF_OPEN. NULL if it was not yet.';
COMMENT ON COLUMN episodes.closed_at IS 'End of the outage. NULL if it is in progress, or if it ended in a history gap (ended_by is HISTORY_GAP).';
COMMENT ON COLUMN episodes.seconds IS 'Duration of the outage, in seconds, until now if it is in progress. By a monotonic clock: differs from closed_at - opened_at if the wall clock was set. NULL if the outage ended in a history gap.';
COMMENT ON COLUMN episodes.probes IS 'Completed probes. Those of a current HALF_OPEN state are not included.';
COMMENT ON COLUMN episodes.rejected_calls IS 'Calls rejected. Those of the current state, and those before a restart in the same state, are not included.';
COMMENT ON COLUMN episodes.ended_by IS 'Reason of the transition that ended the outage. HISTORY_GAP if that transition was lost. NULL if the outage is in progress.';

COMMENT ON VIEW time_open_by_day IS 'Time in OPEN or FORCED_OPEN per breaker and UTC day, including the current state. Days without such time have no row. Same columns on SQLite.';
COMMENT ON COLUMN time_open_by_day.seconds IS 'Time in OPEN or FORCED_OPEN, in seconds. For the current state until now.';

COMMENT ON VIEW overrides IS 'Active overrides. A service-wide override has one row with the scope SERVICE, and none per breaker. Same columns on SQLite.';
COMMENT ON COLUMN overrides.service IS 'Service.';
COMMENT ON COLUMN overrides.name IS 'Name of the breaker. NULL for a service-wide override.';
COMMENT ON COLUMN overrides.state IS 'State that the override sets: FORCED_OPEN, DISABLED or METRICS_ONLY.';
COMMENT ON COLUMN overrides.scope IS 'BREAKER: override of one breaker. SERVICE: service-wide override.';
COMMENT ON COLUMN overrides.actor IS 'Who set the override.';
COMMENT ON COLUMN overrides.why IS 'Reason of the override, in the words of the actor.';
COMMENT ON COLUMN overrides.since IS 'Time when the override was set.';
COMMENT ON COLUMN overrides.expires_at IS 'End of the override. NULL if it lasts until it is cleared.';

DO $$
DECLARE
    shown record;
BEGIN
    FOR shown IN
        SELECT upper_column.attname AS column_name, col_description(lower_column.attrelid, lower_column.attnum) AS comment
        FROM pg_attribute AS upper_column
        JOIN pg_attribute AS lower_column
             ON lower_column.attrelid = 'history'::regclass AND lower_column.attname = upper_column.attname
        WHERE upper_column.attrelid = 'transitions_with_change'::regclass AND upper_column.attnum > 0
            AND lower_column.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN transitions_with_change.%I IS %L', shown.column_name, shown.comment);
    END LOOP;
END
$$;
COMMENT ON VIEW transitions_with_change IS 'The view history with the newest configuration change before each row, of its service or of the config file. Looked up per row: filter by breaker or time. Same columns on SQLite.';
COMMENT ON COLUMN transitions_with_change.change_at IS 'Time of the configuration change. NULL if there was none.';
COMMENT ON COLUMN transitions_with_change.change_kind IS 'FILE_APPLIED: thresholds of the config file. THRESHOLDS: thresholds of the service, set through the API. SERVICE_OVERRIDE: service-wide override.';
COMMENT ON COLUMN transitions_with_change.change_actor IS 'Who made the change. file for the config file.';
COMMENT ON COLUMN transitions_with_change.change_why IS 'Reason of the change, in the words of the actor. NULL if none was given.';
COMMENT ON COLUMN transitions_with_change.seconds_after_change IS 'Seconds from the change to the transition. Negative if the transition happened before the change and was persisted after it.';
COMMENT ON COLUMN transitions_with_change.change_revision IS 'Revision of the change in the view changes.';

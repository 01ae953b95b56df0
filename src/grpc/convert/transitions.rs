//! Changes of state as they are shown.

use breaker::{Key, Reason, Stats};
use breakerd_api::thresholds::decimal;
use breakerd_api::time::{to_duration, to_timestamp};
use breakerd_api::v1;

use crate::engine::LastTransition;
use crate::store::{StoredBreaker, StoredTransition};
use crate::webhook::Notice;

/// A row of the history.
pub(crate) fn transition(row: &StoredTransition) -> v1::Transition {
    let gap = row.reason == Reason::HistoryGap;
    let state = |state, known| if known { v1::State::from(state) } else { v1::State::Unspecified } as i32;
    v1::Transition {
        id: row.id.to_string(),
        service: row.key.service().to_string(),
        name: row.key.name().to_string(),
        from_state: state(row.from, !gap),
        to_state: state(row.to, !gap || row.epoch.is_some()),
        reason: v1::TransitionReason::from(row.reason) as i32,
        epoch: row.epoch,
        base_epoch: row.base_epoch,
        occurred_at: Some(to_timestamp(row.occurred_at)),
        recorded_at: Some(to_timestamp(row.recorded_at)),
        revision: Some(row.cursor.revision),
        replica: row.id.replica.to_string(),
        actor: row.attribution.as_ref().map(|attribution| attribution.actor.clone()).unwrap_or_default(),
        stats: stats(&row.stats),
        wait: row.wait.map(to_duration),
        open_count: row.open_count,
        lost_transitions: row.lost_transitions,
        actor_reason: row
            .attribution
            .as_ref()
            .map(|attribution| attribution.reason.clone())
            .unwrap_or_default(),
        shadow: row.shadow,
        store_unavailable: row.store_unavailable,
        superseded: row.superseded,
        config_revision: row.config_revision,
        lasted: row.lasted.map(to_duration),
        rejected_calls: row.rejected_calls,
        error_class: row.outcome.as_ref().map(|outcome| outcome.error_class.clone()).unwrap_or_default(),
        caller: row.outcome.as_ref().map(|outcome| outcome.caller.clone()).unwrap_or_default(),
    }
}

/// A transition that stands, as it is posted: the store's own marks (`recorded_at`, `revision`) are not known yet.
pub(crate) fn notice(notice: &Notice) -> v1::Transition {
    let Notice { id, key, transition, epoch, at, store_unavailable } = notice;
    let (by, outcome) = (transition.attribution.as_ref(), transition.outcome.as_ref());
    v1::Transition {
        id: id.to_string(),
        service: key.service().to_string(),
        name: key.name().to_string(),
        from_state: v1::State::from(transition.from) as i32,
        to_state: v1::State::from(transition.to()) as i32,
        reason: v1::TransitionReason::from(transition.reason) as i32,
        epoch: Some(*epoch),
        base_epoch: epoch.saturating_sub(1),
        occurred_at: Some(to_timestamp(*at)),
        replica: id.replica.to_string(),
        actor: by.map(|by| by.actor.clone()).unwrap_or_default(),
        actor_reason: by.map(|by| by.reason.clone()).unwrap_or_default(),
        stats: stats(&transition.stats),
        wait: transition.after.wait.map(to_duration),
        open_count: transition.after.open_count,
        store_unavailable: *store_unavailable,
        config_revision: transition.after.config_revision,
        lasted: transition.lasted.map(to_duration),
        rejected_calls: transition.rejected_calls,
        error_class: outcome.map(|outcome| outcome.error_class.clone()).unwrap_or_default(),
        caller: outcome.map(|outcome| outcome.caller.clone()).unwrap_or_default(),
        ..v1::Transition::default()
    }
}

/// The newest state of a breaker, as the store has it.
pub(crate) fn stored_state(stored: &StoredBreaker) -> v1::StateSnapshot {
    v1::StateSnapshot {
        service: stored.key.service().to_string(),
        name: stored.key.name().to_string(),
        state: v1::State::from(stored.snapshot.state) as i32,
        epoch: stored.snapshot.epoch,
        entered_at: Some(to_timestamp(stored.snapshot.entered_at)),
        revision: stored.revision,
    }
}

/// The newest change of a breaker, as the engine remembers it.
pub(super) fn last(key: &Key, last: &LastTransition) -> v1::Transition {
    v1::Transition {
        service: key.service().to_string(),
        name: key.name().to_string(),
        from_state: v1::State::from(last.from) as i32,
        to_state: v1::State::from(last.to) as i32,
        reason: v1::TransitionReason::from(last.reason) as i32,
        epoch: Some(last.epoch),
        base_epoch: last.epoch.saturating_sub(1),
        occurred_at: Some(to_timestamp(last.at)),
        stats: stats(&last.stats),
        ..v1::Transition::default()
    }
}

fn stats(stats: &Stats) -> Option<v1::TransitionStats> {
    (*stats != Stats::default()).then(|| v1::TransitionStats {
        consecutive_failures: stats.consecutive_failures,
        consecutive_successes: stats.consecutive_successes,
        calls: stats.calls,
        failures: stats.failures,
        slow_calls: stats.slow_calls,
        failure_rate: stats.failure_rate().map(decimal),
        slow_call_rate: stats.slow_call_rate().map(decimal),
        reporters: stats.reporters,
    })
}

//! Changes as the machine would make them, for the stores to keep.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    AfterMaxWait, Attribution, CausingOutcome, HalfOpenTerms, Key, Numbering, Override, OverrideKind, Reason,
    Scope, Snapshot, State, Stats, Time, Transition,
};
use breakerd::store::{Change, Proposal, TransitionId};

/// 2025-01-01 and a few microseconds, to see that none is lost.
pub(crate) const NOON: Time = Time::from_micros(1_735_689_600_123_457);

pub(crate) fn key(service: &str, name: &str) -> Key {
    Key::new(service, name).unwrap()
}

/// The `seq`th change of one process.
pub(crate) fn id(seq: u64) -> TransitionId {
    TransitionId { replica: Arc::from("replica-1"), boot: 0xfedc_ba98_7654_3210, seq }
}

/// What a state is kept as, with everything that belongs to it.
pub(crate) fn snapshot(state: State, epoch: u64) -> Snapshot {
    let mut snapshot =
        Snapshot { epoch, state, entered_at: NOON, config_revision: 7, ..Snapshot::pristine() };
    match state {
        State::Closed => {}
        State::Open => {
            snapshot.open_count = 3;
            snapshot.wait = Some(Duration::from_micros(60_000_001));
            snapshot.retry_after = Some(Duration::from_secs(30));
        }
        State::HalfOpen => {
            snapshot.open_count = 3;
            snapshot.half_open = Some(HalfOpenTerms {
                permitted: 10,
                failures_to_open: 5,
                slow_to_open: Some(8),
                lease: Duration::from_mins(1),
                max_wait: Some(Duration::from_secs(5)),
                after_max_wait: AfterMaxWait::Closed,
            });
        }
        State::ForcedOpen | State::Disabled | State::MetricsOnly => {
            let kind = OverrideKind::ALL.iter().copied().find(|kind| State::from(*kind) == state).unwrap();
            snapshot.set_by = Some(Override {
                kind,
                scope: Scope::Breaker,
                expires_at: Some(NOON + Duration::from_hours(1)),
                ttl: Some(Duration::from_mins(90)),
                actor: "ann@example.org".to_owned(),
                reason: "maintenance, see #12".to_owned(),
            });
        }
    }
    snapshot
}

/// One change of state, leaving `base_epoch`.
pub(crate) fn transition(from: State, to: State, base_epoch: u64) -> Transition {
    let after = snapshot(to, base_epoch + 1);
    Transition {
        from,
        reason: match to {
            State::Closed => Reason::ProbesSucceeded,
            State::Open => Reason::FailureRate,
            State::HalfOpen => Reason::ProbeRequested,
            State::ForcedOpen | State::Disabled | State::MetricsOnly => Reason::OverrideSet,
        },
        stats: Stats {
            consecutive_failures: 4,
            consecutive_successes: 0,
            calls: 12,
            failures: 7,
            slow_calls: 1,
            reporters: 2,
        },
        base_epoch,
        at: NOON,
        lasted: Some(Duration::from_micros(90_000_001)),
        rejected_calls: 17,
        outcome: after
            .set_by
            .is_none()
            .then(|| CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-1".to_owned() }),
        attribution: after
            .set_by
            .as_ref()
            .map(|set_by| Attribution { actor: set_by.actor.clone(), reason: set_by.reason.clone() }),
        after,
        shadow: false,
    }
}

/// A change that comes with its number, as from a process that is alone.
pub(crate) fn own(seq: u64, key: &Key, from: State, to: State, base_epoch: u64) -> Proposal {
    let change = Change::Transition(Box::new(transition(from, to, base_epoch)));
    Proposal {
        id: id(seq),
        key: key.clone(),
        change,
        numbering: Numbering::Own,
        store_unavailable: false,
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: breakerd::store::DecidedIn::default(),
    }
}

/// A change that the store is to number.
pub(crate) fn proposed(seq: u64, key: &Key, from: State, to: State, base_epoch: u64) -> Proposal {
    Proposal { numbering: Numbering::Store, ..own(seq, key, from, to, base_epoch) }
}

/// CLOSED to OPEN, the first there is.
pub(crate) fn trip(seq: u64, key: &Key) -> Proposal {
    own(seq, key, State::Closed, State::Open, 0)
}

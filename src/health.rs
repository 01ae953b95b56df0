//! Decides whether breakerd is healthy: `/health`, gRPC health and the log follow it.
//!
//! Decisions are made from memory and go on whatever the result is here. What suffers is what is written: the history, changes
//! of thresholds, and in the end what survives a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::journal::JournalStats;
use crate::store::{StoreMonitor, StoreStatus};

/// A replica that hears nothing from the store for longer is not well. It looks each second.
const REPLICA_LAG_MAX: Duration = Duration::from_secs(10);

/// How one of several replicas stands with the store; all but the keys zero in a process that has it for itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplicaStats {
    /// How long it is since it read what others changed.
    pub changes_unread_for: Duration,
    /// How long the store has not answered about probes.
    pub probes_unanswered_for: Duration,
    /// How long the store has not answered about what replicas count.
    pub counts_unshared_for: Duration,
    /// How long the store has not told of the keys of permits.
    pub permit_keys_unread_for: Duration,
}

/// Decides from the status of the store and of the journal.
#[derive(Debug)]
pub struct Health {
    store: Arc<StoreMonitor>,
    journal_lag_max: Duration,
    without_store: AtomicBool,
}

/// Something that is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The store does not answer, or only now and then.
    StoreUnreachable,
    /// A newer release has changed the tables of the store so that this one must not write to them.
    StoreNeedsNewerRelease,
    /// The store does not take transitions: they wait in the journal.
    StoreRefusesTransitions,
    /// The store does not take changes of configuration.
    StoreRefusesChanges,
    /// The oldest transition in the journal has waited for the store for longer than `journal.lag_max`.
    JournalLags,
    /// This replica has not read for some time what others changed.
    ChangesUnread,
    /// The store has not answered this replica about probes for some time: half-open breakers allow no calls here.
    ProbesUnanswered,
    /// This replica has not exchanged counts with the others for some time: it judges by what it counts itself.
    CountsUnshared,
    /// This replica has not read the keys of permits for some time.
    PermitKeysUnread,
    /// The journal's file cannot be written: what is decided now does not survive a crash of the process.
    JournalUnwritable,
    /// It was started while the store was away, and has not read it since: it decides by what it last knew.
    StartedWithoutStore,
}

impl Problem {
    /// Its name, as in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoreUnreachable => "store_unreachable",
            Self::StoreNeedsNewerRelease => "store_needs_newer_release",
            Self::StoreRefusesTransitions => "store_refuses_transitions",
            Self::StoreRefusesChanges => "store_refuses_changes",
            Self::JournalLags => "journal_lags",
            Self::ChangesUnread => "changes_unread",
            Self::ProbesUnanswered => "probes_unanswered",
            Self::CountsUnshared => "counts_unshared",
            Self::PermitKeysUnread => "permit_keys_unread",
            Self::JournalUnwritable => "journal_unwritable",
            Self::StartedWithoutStore => "started_without_store",
        }
    }
}

impl Health {
    /// Of a store that is not known yet.
    pub fn new(journal_lag_max: Duration) -> Self {
        Self { store: Arc::default(), journal_lag_max, without_store: AtomicBool::new(false) }
    }

    /// What the store's answers are noted in.
    pub fn store(&self) -> &Arc<StoreMonitor> {
        &self.store
    }

    /// It was started without the store, or, at last, has read it.
    pub fn set_without_store(&self, is_so: bool) {
        self.without_store.store(is_so, Ordering::Relaxed);
    }

    /// All problems, in a fixed order, for this status of the journal and of the replica. Empty: healthy.
    pub fn problems(&self, journal: Option<JournalStats>, replica: ReplicaStats) -> Vec<Problem> {
        let StoreStatus {
            answers,
            needs_newer_release,
            refuses_transition_writes,
            refuses_config_writes,
            ..
        } = self.store.get();
        let journal = journal.unwrap_or_default();
        [
            (!answers, Problem::StoreUnreachable),
            (needs_newer_release.is_some(), Problem::StoreNeedsNewerRelease),
            (refuses_transition_writes, Problem::StoreRefusesTransitions),
            (refuses_config_writes, Problem::StoreRefusesChanges),
            (journal.lag > self.journal_lag_max, Problem::JournalLags),
            (replica.changes_unread_for > REPLICA_LAG_MAX, Problem::ChangesUnread),
            (replica.probes_unanswered_for > REPLICA_LAG_MAX, Problem::ProbesUnanswered),
            (replica.counts_unshared_for > REPLICA_LAG_MAX, Problem::CountsUnshared),
            (replica.permit_keys_unread_for > REPLICA_LAG_MAX, Problem::PermitKeysUnread),
            (journal.write_failing || journal.in_memory > 0, Problem::JournalUnwritable),
            (self.without_store.load(Ordering::Relaxed), Problem::StartedWithoutStore),
        ]
        .into_iter()
        .filter_map(|(is_so, problem)| is_so.then_some(problem))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use breaker::Time;

    use super::*;
    use crate::store::{OperationKind, StoreError};

    #[test]
    fn each_problem_is_named_and_goes_with_its_cause() {
        let health = Health::new(Duration::from_secs(30));
        assert_eq!(health.problems(None, ReplicaStats::default()), [Problem::StoreUnreachable]);
        let note = |kind, works: bool| {
            let answer =
                if works { Ok(()) } else { Err(StoreError::unavailable("ask", "the database is away")) };
            health.store().note(kind, &answer, Time::from_micros(1));
        };
        note(OperationKind::Ping, true);
        assert_eq!(health.problems(None, ReplicaStats::default()), []);
        for (kind, problem) in [
            (OperationKind::TransitionWrite, Problem::StoreRefusesTransitions),
            (OperationKind::ConfigWrite, Problem::StoreRefusesChanges),
        ] {
            note(kind, false);
            assert_eq!(health.problems(None, ReplicaStats::default()), [problem]);
            note(kind, true);
            assert_eq!(health.problems(None, ReplicaStats::default()), []);
        }
        let newer: Result<(), _> = Err(StoreError::NewerSchema("run the newer version".to_owned()));
        health.store().note(OperationKind::Ping, &newer, Time::from_micros(1));
        assert_eq!(health.problems(None, ReplicaStats::default()), [Problem::StoreNeedsNewerRelease]);
        note(OperationKind::Ping, true);
        assert_eq!(health.problems(None, ReplicaStats::default()), []);
        let at = |seconds| JournalStats { lag: Duration::from_secs(seconds), ..JournalStats::default() };
        assert_eq!(health.problems(Some(at(30)), ReplicaStats::default()), []);
        assert_eq!(health.problems(Some(at(31)), ReplicaStats::default()), [Problem::JournalLags]);
        let replica = |changes, probes| ReplicaStats {
            changes_unread_for: Duration::from_secs(changes),
            probes_unanswered_for: Duration::from_secs(probes),
            ..ReplicaStats::default()
        };
        assert_eq!(health.problems(None, replica(10, 10)), []);
        assert_eq!(health.problems(None, replica(11, 0)), [Problem::ChangesUnread]);
        assert_eq!(health.problems(None, replica(0, 11)), [Problem::ProbesUnanswered]);
        let counts = |seconds| ReplicaStats {
            counts_unshared_for: Duration::from_secs(seconds),
            ..ReplicaStats::default()
        };
        assert_eq!(health.problems(None, counts(10)), []);
        assert_eq!(health.problems(None, counts(11)), [Problem::CountsUnshared]);
        let keys = |seconds| ReplicaStats {
            permit_keys_unread_for: Duration::from_secs(seconds),
            ..ReplicaStats::default()
        };
        assert_eq!(health.problems(None, keys(10)), []);
        assert_eq!(health.problems(None, keys(11)), [Problem::PermitKeysUnread]);
        let failing = JournalStats { write_failing: true, ..JournalStats::default() };
        assert_eq!(health.problems(Some(failing), ReplicaStats::default()), [Problem::JournalUnwritable]);
        health.set_without_store(true);
        assert_eq!(health.problems(None, ReplicaStats::default()), [Problem::StartedWithoutStore]);
        health.set_without_store(false);
        assert_eq!(health.problems(None, ReplicaStats::default()), []);
    }
}

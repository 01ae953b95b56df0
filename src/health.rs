//! Decides whether breakerd is healthy: `/health`, gRPC health and the log follow it.
//!
//! Decisions are made from memory and go on whatever the result is here. What suffers is what is written: the history, changes
//! of thresholds, and in the end what survives a crash.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::JournalStats;
use crate::store::{StoreMonitor, StoreStatus};

/// Decides from the status of the store and of the journal.
#[derive(Debug)]
pub struct Health {
    store: Arc<StoreMonitor>,
    journal_lag_max: Duration,
}

/// Something that is not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The store does not answer, or only now and then.
    StoreUnreachable,
    /// The store does not take transitions: they wait in the journal.
    StoreRefusesTransitions,
    /// The store does not take changes of configuration.
    StoreRefusesChanges,
    /// The oldest transition in the journal has waited for the store for longer than `journal.lag_max`.
    JournalLags,
    /// The journal's file cannot be written: what is decided now does not survive a crash of the process.
    JournalUnwritable,
}

impl Problem {
    /// Its name, as in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoreUnreachable => "store_unreachable",
            Self::StoreRefusesTransitions => "store_refuses_transitions",
            Self::StoreRefusesChanges => "store_refuses_changes",
            Self::JournalLags => "journal_lags",
            Self::JournalUnwritable => "journal_unwritable",
        }
    }
}

impl Health {
    /// Of a store that is not known yet.
    pub fn new(journal_lag_max: Duration) -> Self {
        Self { store: Arc::default(), journal_lag_max }
    }

    /// What the store's answers are noted in.
    pub fn store(&self) -> &Arc<StoreMonitor> {
        &self.store
    }

    /// All problems, in a fixed order, for this status of the journal. Empty: healthy.
    pub fn problems(&self, journal: Option<JournalStats>) -> Vec<Problem> {
        let StoreStatus { answers, refuses_transition_writes, refuses_config_writes, .. } = self.store.get();
        let journal = journal.unwrap_or_default();
        [
            (!answers, Problem::StoreUnreachable),
            (refuses_transition_writes, Problem::StoreRefusesTransitions),
            (refuses_config_writes, Problem::StoreRefusesChanges),
            (journal.lag > self.journal_lag_max, Problem::JournalLags),
            (journal.write_failing || journal.in_memory > 0, Problem::JournalUnwritable),
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
        assert_eq!(health.problems(None), [Problem::StoreUnreachable]);
        let note = |kind, works: bool| {
            let answer =
                if works { Ok(()) } else { Err(StoreError::unavailable("ask", "the database is away")) };
            health.store().note(kind, &answer, Time::from_micros(1));
        };
        note(OperationKind::Ping, true);
        assert_eq!(health.problems(None), []);
        for (kind, problem) in [
            (OperationKind::TransitionWrite, Problem::StoreRefusesTransitions),
            (OperationKind::ConfigWrite, Problem::StoreRefusesChanges),
        ] {
            note(kind, false);
            assert_eq!(health.problems(None), [problem]);
            note(kind, true);
            assert_eq!(health.problems(None), []);
        }
        let at = |seconds| JournalStats { lag: Duration::from_secs(seconds), ..JournalStats::default() };
        assert_eq!(health.problems(Some(at(30))), []);
        assert_eq!(health.problems(Some(at(31))), [Problem::JournalLags]);
        let failing = JournalStats { write_failing: true, ..JournalStats::default() };
        assert_eq!(health.problems(Some(failing)), [Problem::JournalUnwritable]);
    }
}

//! What goes from a replica to the store's row of a breaker, and what comes back.

use std::time::Duration;

use super::half_open::HalfOpen;
use crate::outcome::Probe;
use crate::probes::{ProbeCounts, ProbeOutcome, ProbeSettled};
use crate::shared_counts::SharedCounts;
use crate::state::{Reason, State};
use crate::time::Time;
use crate::transition::{CausingOutcome, Snapshot, Stats, Transition};

/// What a change is known by on its way to the store and back. Made by whoever keeps it on that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProposalId {
    /// Random for each life of the process.
    pub boot: u64,
    /// Counts up within it.
    pub number: u64,
}

/// When a row of the store was written. A later one is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RowVersion {
    /// Another and larger one after the store went back.
    pub timeline: u32,
    /// The revision that wrote the row.
    pub revision: u64,
}

/// A breaker's row in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// When it was written.
    pub version: RowVersion,
    /// Its state.
    pub snapshot: Snapshot,
    /// How long it had been in this state when it was read, by the store's clock, which is the one that counts.
    pub age: Duration,
}

/// What the store made of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalAnswer {
    /// It stands, or stood once.
    Won,
    /// It does not: the row was another one, or the wait was not over by the store's clock.
    Lost,
}

/// What is known of the answer to a change of an earlier life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierAnswer {
    /// The store has not answered it, as far as is known.
    Missing,
    /// The store had it when it was written down. It is sent once more, should the store have gone back.
    Given,
}

/// The outcome of a probe, for the store, which decides what comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The epoch that the probe is of.
    pub epoch: u64,
    /// The probe.
    pub probe: Probe,
    /// What it counts as; none: it is ignored.
    pub outcome: Option<ProbeOutcome>,
    /// The outcome as the history has it, if it decides.
    pub causing: CausingOutcome,
    /// How long OPEN would wait, if it opens.
    pub wait: Duration,
    /// The `retry_after` that is honoured in `wait`.
    pub retry_after: Option<Duration>,
    /// The revision of the thresholds that `wait` is of.
    pub config_revision: u64,
    /// Calls that this replica rejected in half-open.
    pub rejected_calls: u64,
}

/// What the store made of the outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// What became of it.
    pub settled: ProbeSettled,
    /// What was counted of all probes of its epoch.
    pub counts: ProbeCounts,
    /// The row as it is now: another state, if this outcome decided.
    pub row: StoredRow,
}

/// What a replica knows of the row.
#[derive(Debug, Clone)]
pub(super) struct Replicated<B> {
    /// The version of the row that was taken last; none: no row was.
    pub(super) taken: Option<RowVersion>,
    pub(super) proposal: Option<Proposal>,
    /// A trip that the store has not answered, and that the OPEN of another replica, which is the row now, overtook.
    pub(super) overtaken_trip: Option<ProposalId>,
    /// What replicas count together in the present state, while it fails.
    pub(super) counts: Option<Box<SharedCounts>>,
    /// What this replica decided alone, over the row: a breaker of its own.
    pub(super) branch: Option<Box<B>>,
}

impl<B> Default for Replicated<B> {
    fn default() -> Self {
        Self { taken: None, proposal: None, overtaken_trip: None, counts: None, branch: None }
    }
}

/// The newest change that was made here and not answered yet.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    /// None until it has been given one.
    pub(super) id: Option<ProposalId>,
    /// The row that it was made on, and when its state was entered.
    pub(super) base: (Snapshot, Time),
    /// If that is a half-open: the probes that this replica has of it.
    pub(super) probes: Option<Box<HalfOpen>>,
    /// Time alone brought it about.
    pub(super) is_timed: bool,
    /// It is a trip of a timeline of the store that is over: it holds over what is automatic there, until it is answered.
    pub(super) is_held: bool,
    /// The store has answered it, in a timeline that this breaker is not in yet, or in an earlier life of this replica: it holds over
    /// no newer row.
    pub(super) is_answered: bool,
}

impl ProbeReport {
    /// The transition that this outcome makes, once `verdict` has been reached with it; `present` is the state that it is
    /// reached in, and `now` is the store's.
    pub fn transition(
        &self,
        verdict: (State, Reason),
        stats: Stats,
        present: &Snapshot,
        now: Time,
    ) -> Transition {
        let (verdict, reason) = verdict;
        let opens = verdict == State::Open;
        let after = Snapshot {
            epoch: present.epoch + 1,
            state: verdict,
            open_count: if opens { present.open_count.saturating_add(1) } else { 0 },
            entered_at: now,
            wait: opens.then_some(self.wait),
            retry_after: self.retry_after.filter(|_| opens),
            config_revision: self.config_revision,
            ..Snapshot::pristine()
        };
        Transition {
            from: present.state,
            reason,
            stats,
            base_epoch: present.epoch,
            at: now,
            lasted: Some(now.since(present.entered_at)),
            rejected_calls: self.rejected_calls,
            outcome: Some(self.causing.clone()),
            attribution: None,
            after,
            shadow: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_knows_of_a_row_stays_within_a_size_that_the_allocator_has() {
        // mimalloc's next size is 384: each breaker that left its first state has it.
        let bytes = size_of::<Replicated<crate::Breaker>>();
        assert!(bytes <= 320, "{bytes} bytes");
    }
}

//! What other replicas counted, as a breaker takes it in.

use std::time::Duration;

use crate::call_counts::{AgedCalls, CallCounts};
use crate::outcome::CallerId;

/// A caller whose call failed, or was slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerSighting {
    /// Who.
    pub caller: CallerId,
    /// How long ago its newest such call was.
    pub age: Duration,
}

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRun {
    /// How many.
    pub failures: u64,
    /// How long ago the first of them was.
    pub age: Duration,
}

/// What other replicas counted since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deltas {
    /// New calls of replicas that were seen at the last look: their order is that of their arrival, any success first.
    pub calls: CallCounts,
    /// Calls of replicas that were not seen before, or not for a while: they are in the window, and in no run.
    pub earlier: Vec<AgedCalls>,
    /// Whether one of those was a success that is new.
    pub ends_run: bool,
    /// Whether one of them, of a replica that was not seen before, is newer than the beginning of the own run.
    pub ends_own_run: bool,
    /// The runs of such replicas. One counts if it is younger than the own newest success.
    pub runs: Vec<FailureRun>,
    /// Who failed.
    pub failed_callers: Vec<CallerSighting>,
    /// Who was slow.
    pub slow_callers: Vec<CallerSighting>,
}

impl Deltas {
    /// Whether there is no new call in it.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.earlier.iter().all(|earlier| earlier.calls.is_empty())
    }
}

//! What became of the calls of a breaker in this process.

use std::time::Duration;

use breaker::State;

/// What became of the outcomes that this process had to report.
///
/// `reported` is the sum of all others, at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Reports {
    /// Outcomes that had to be reported.
    pub reported: u64,
    /// breakerd counted them.
    pub recorded: u64,
    /// Too late: the state had changed since the call began.
    pub late: u64,
    /// breakerd does not count outcomes in the state of the breaker.
    pub not_counted: u64,
    /// breakerd answered with an error.
    pub refused: u64,
    /// Dropped here, as the queue was full.
    pub dropped: u64,
    /// Sent, but the answer was lost: breakerd may have counted them or not.
    pub unknown: u64,
    /// Counted here alone while breakerd could not be reached. It is sent their totals later, for its metrics.
    pub alone: u64,
    /// Not sent yet, or without an answer yet.
    pub waiting: u64,
}

/// Calls that were rejected in this process, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejections {
    /// The breaker was OPEN, or breakerd could not be reached and the client denies then.
    pub open: u64,
    /// The breaker was `HALF_OPEN`, without a free probe slot.
    pub half_open: u64,
    /// An operator forced the breaker open.
    pub forced_open: u64,
}

impl Rejections {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.open + self.half_open + self.forced_open
    }
}

/// One breaker, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Service of the breaker.
    pub service: String,
    /// Name of the breaker within the service.
    pub name: String,
    /// State that this process decides by.
    pub state: State,
    /// Whether breakerd decides. If not, this process does by itself.
    pub connected: bool,
    /// Calls that succeeded.
    pub successful: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that said nothing about the dependency.
    pub ignored: u64,
    /// Calls that succeeded or failed, and took longer than the threshold for slow calls.
    pub slow: u64,
    /// Calls that were rejected.
    pub rejected: Rejections,
    /// Failures of this process since its last success.
    pub consecutive_failures: u32,
    /// Successes of this process since its last failure.
    pub consecutive_successes: u32,
    /// Changes of the state that this process saw.
    pub transitions: u64,
    /// Rest of the open-state wait, or time until the override expires. None: no end is known.
    pub remaining_wait: Option<Duration>,
    /// What became of the outcomes.
    pub reports: Reports,
}

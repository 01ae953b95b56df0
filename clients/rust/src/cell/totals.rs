//! Counters of a breaker.

use breaker::Outcome;

use crate::stats::{Rejections, Reports};

/// Outcomes and rejections that breakerd has not been told yet, for its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LocalTotals {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    pub(crate) rejected: Rejections,
}

/// What became of the calls of a breaker.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) successful: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) slow: u64,
    pub(super) transitions: u64,
    pub(super) reports: Reports,
    /// Not sent yet; of `rejected`: what was sent.
    pub(super) local: LocalTotals,
}

impl Totals {
    /// Notes outcomes, as this process sees them.
    pub(super) fn note(&mut self, outcome: Outcome, count: u32) {
        let count = u64::from(count);
        self.reports.reported += count;
        match outcome {
            Outcome::Success => self.successful += count,
            Outcome::Failure => self.failed += count,
            Outcome::Ignored => self.ignored += count,
        }
    }

    /// Notes outcomes that breakerd gets the totals of, and no more.
    pub(super) fn alone(&mut self, outcome: Outcome, count: u32) {
        let count = u64::from(count);
        self.reports.alone += count;
        match outcome {
            Outcome::Success => self.local.successful += count,
            Outcome::Failure => self.local.failed += count,
            Outcome::Ignored => self.local.ignored += count,
        }
    }
}

//! How many outcomes of which kind.

use crate::call_counts::CallCounts;

/// What is in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
    pub(crate) slow: u32,
}

impl Totals {
    pub(super) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    pub(super) fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failures: failed.into(), slow: slow.into() }
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// So many outcomes of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) number: u32,
    pub(super) failed: bool,
    pub(super) slow: bool,
}

impl CallCounts {
    pub(super) fn kinds(self) -> [Kind; 4] {
        let kind = |number: u64, failed, slow| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            Kind { number, failed, slow }
        };
        [
            kind(self.successes, false, false),
            kind(self.slow_successes, false, true),
            kind(self.failures, true, false),
            kind(self.slow_failures, true, true),
        ]
    }
}

impl Totals {
    pub(super) fn of(calls: CallCounts) -> Self {
        let mut sum = Self::default();
        for Kind { number, failed, slow } in calls.kinds() {
            let only = |counts: bool| if counts { number } else { 0 };
            sum.add(Self { calls: number, failures: only(failed), slow: only(slow) });
        }
        sum
    }

    /// The same calls by kind, as far as totals say: no more of them failed and were slow than there have to be.
    pub(super) fn counts(self) -> CallCounts {
        let Self { calls, failures, slow } = self;
        let both = failures.saturating_add(slow).saturating_sub(calls);
        CallCounts {
            successes: calls.saturating_sub(failures).saturating_sub(slow - both.min(slow)).into(),
            slow_successes: slow.saturating_sub(both).into(),
            failures: failures.saturating_sub(both).into(),
            slow_failures: both.into(),
        }
    }
}

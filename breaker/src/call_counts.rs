//! Calls by how they went, as replicas tell each other of them.

use std::time::Duration;

/// How many calls went how. Sums saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Succeeded, and were not slow.
    pub successes: u64,
    /// Succeeded, and were slow.
    pub slow_successes: u64,
    /// Failed, and were not slow.
    pub failures: u64,
    /// Failed, and were slow.
    pub slow_failures: u64,
}

/// Calls, and how long ago the newest of them was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgedCalls {
    /// None: nobody knows; before all others.
    pub age: Option<Duration>,
    /// How they went.
    pub calls: CallCounts,
}

impl CallCounts {
    pub(crate) fn alike(failed: bool, slow: bool, count: u32) -> Self {
        let mut calls = Self::default();
        let kind = match (failed, slow) {
            (false, false) => &mut calls.successes,
            (false, true) => &mut calls.slow_successes,
            (true, false) => &mut calls.failures,
            (true, true) => &mut calls.slow_failures,
        };
        *kind = count.into();
        calls
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.succeeded().saturating_add(self.failed())
    }

    /// Those that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.successes.saturating_add(self.slow_successes)
    }

    /// Those that failed.
    pub fn failed(&self) -> u64 {
        self.failures.saturating_add(self.slow_failures)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    pub(crate) fn each(self, other: Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            successes: of(self.successes, other.successes),
            slow_successes: of(self.slow_successes, other.slow_successes),
            failures: of(self.failures, other.failures),
            slow_failures: of(self.slow_failures, other.slow_failures),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left without `other`; of each kind at least none.
    pub(crate) fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    /// At most `most` of them, each kind in its share.
    pub(crate) fn limited(self, most: u64) -> Self {
        let total = self.total();
        if total <= most {
            return self;
        }
        let share = |number: u64| {
            let exact = u128::from(number) * u128::from(most) / u128::from(total);
            u64::try_from(exact).unwrap_or(most)
        };
        self.each(Self::default(), |number, _| share(number))
    }
}

#[cfg(test)]
mod tests {
    use super::CallCounts;

    #[test]
    fn fewer_calls_keep_the_share_of_each_kind() {
        let calls = CallCounts { successes: 60, slow_successes: 20, failures: 10, slow_failures: 10 };
        let half = CallCounts { successes: 30, slow_successes: 10, failures: 5, slow_failures: 5 };
        assert_eq!((calls.limited(50), calls.limited(100)), (half, calls));
        assert_eq!(CallCounts { failures: u64::MAX, ..CallCounts::default() }.limited(7).failures, 7);
    }
}

//! Something that the store does not do for this replica: seen in the log once it lasts, and by health.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::Time;

use crate::log_throttle::LogThrottle;
use crate::store::StoreError;

/// A store that is away for a moment is in the log by itself.
const LASTS: Duration = Duration::from_secs(5);

/// Since when the store has not done what it was asked.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Microseconds of the clock; 0: it does.
    since: AtomicU64,
    throttle: LogThrottle,
}

impl Trouble {
    /// The store did it.
    pub(super) fn is_over(&self) {
        self.since.store(0, Relaxed);
    }

    /// It did not. Logged if it lasts, or if it is of no use to wait, every ten seconds at most.
    pub(super) fn note(&self, act: &'static str, error: &StoreError, now: Time) {
        let _ = self.since.compare_exchange(0, now.as_micros(), Relaxed, Relaxed);
        let lasts = self.lasting(now);
        let error_shown = error as &dyn std::error::Error;
        if (lasts >= LASTS || !error.is_transient()) && self.throttle.is_due(now) {
            tracing::warn!(
                act,
                error = error_shown,
                seconds = lasts.as_secs(),
                "store does not answer a replica, retrying"
            );
        } else {
            tracing::debug!(act, error = error_shown, "store does not answer a replica, retrying");
        }
    }

    /// How long it has not done it.
    pub(super) fn lasting(&self, now: Time) -> Duration {
        let since = self.since.load(Relaxed);
        if since == 0 { Duration::ZERO } else { now.since(Time::from_micros(since)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_first_failure_to_the_next_success() {
        let trouble = Trouble::default();
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let error = StoreError::unavailable("ask", "it is away");
        assert_eq!(trouble.lasting(at(1)), Duration::ZERO);
        trouble.note("ask", &error, at(1));
        trouble.note("ask", &error, at(3));
        assert_eq!(trouble.lasting(at(11)), Duration::from_secs(10));
        trouble.is_over();
        assert_eq!(trouble.lasting(at(12)), Duration::ZERO);
    }
}

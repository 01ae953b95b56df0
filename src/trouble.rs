//! Something that the store does not do for this replica: seen in the log once it lasts, and by health.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::Time;

use crate::log_throttle::LogThrottle;
use crate::store::StoreError;

/// A store that is away for a moment is in the log by itself.
const LASTS: Duration = Duration::from_secs(5);

/// Since when the store has not done what it was asked.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Microseconds of the clock; 0: it does.
    since: AtomicU64,
    is_logged: AtomicBool,
    throttle: LogThrottle,
}

impl Trouble {
    /// The store did it.
    pub fn is_over(&self, act: &'static str, now: Time) {
        let since = self.since.swap(0, Relaxed);
        if self.is_logged.swap(false, Relaxed) {
            let seconds = now.since(Time::from_micros(since)).as_secs();
            tracing::info!(act, seconds, "store answers a replica again");
        }
    }

    /// It did not. Logged once, as soon as it lasts, or if it is of no use to wait; and of what begins anew every ten seconds at most.
    pub fn note(&self, act: &'static str, error: &StoreError, now: Time) {
        let _ = self.since.compare_exchange(0, now.as_micros(), Relaxed, Relaxed);
        let lasts = self.lasting(now);
        let error_shown = error as &dyn std::error::Error;
        if (lasts >= LASTS || !error.is_transient())
            && !self.is_logged.load(Relaxed)
            && self.throttle.is_due(now)
        {
            self.is_logged.store(true, Relaxed);
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
    pub fn lasting(&self, now: Time) -> Duration {
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
        trouble.is_over("ask", at(12));
        assert_eq!(trouble.lasting(at(12)), Duration::ZERO);
    }

    #[test]
    fn it_is_logged_once_it_lasts_and_again_when_it_is_over() {
        let trouble = Trouble::default();
        let at = |seconds: u64| Time::from_micros(seconds * 1_000_000);
        let away = StoreError::unavailable("ask", "it is away");
        trouble.note("ask", &away, at(1));
        assert!(!trouble.is_logged.load(Relaxed), "for a moment");
        trouble.is_over("ask", at(2));
        for second in 3..8 {
            trouble.note("ask", &away, at(second));
        }
        assert!(!trouble.is_logged.load(Relaxed), "for a moment");
        trouble.note("ask", &away, at(8));
        assert!(trouble.is_logged.load(Relaxed));
        trouble.is_over("ask", at(9));
        assert!(!trouble.is_logged.load(Relaxed));
    }
}

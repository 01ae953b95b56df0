//! Limits how often one message is logged.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::Time;

/// The least time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// At most one log line in ten seconds.
#[derive(Debug, Default)]
pub struct LogThrottle {
    logged_at: AtomicU64,
}

impl LogThrottle {
    /// Whether to log now: the first time, and then every ten seconds at most.
    pub fn is_due(&self, now: Time) -> bool {
        let last = self.logged_at.load(Relaxed);
        let due = last == 0 || now.since(Time::from_micros(last)) >= EVERY;
        due && self.logged_at.compare_exchange(last, now.as_micros(), Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_every_ten_seconds() {
        let throttle = LogThrottle::default();
        let at = |seconds: u64| throttle.is_due(Time::from_micros(seconds * 1_000_000));
        assert_eq!([at(1), at(1), at(10), at(11), at(12), at(30)], [true, false, false, true, false, true]);
    }
}

//! Limits the rate of something that has happened already: it returns how long to wait before the next, and rejects nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::Time;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events a second in the long run; at least 1.
    pub per_second: u32,
    /// Events at once, on top of that.
    pub burst: u32,
}

impl Rate {
    fn micros(self, events: u32) -> u64 {
        u64::from(events) * 1_000_000 / u64::from(self.per_second.max(1))
    }
}

/// The generic cell rate algorithm: one number, the moment up to which the rate is used up.
#[derive(Debug, Default)]
pub struct RateLimiter {
    used_until: AtomicU64,
}

impl RateLimiter {
    /// Beyond the burst, at most so much is charged to later events: an hour of excess does not cost an hour of waiting.
    const DEBT_MAX: Duration = Duration::from_secs(1);

    /// Counts `events`, and returns how long to wait: zero within the burst, at most a second.
    pub fn charge(&self, events: u32, rate: Rate, now: Time) -> Duration {
        let (now, burst, cost) = (now.as_micros(), rate.micros(rate.burst), rate.micros(events));
        let max = now + burst + u64::try_from(Self::DEBT_MAX.as_micros()).unwrap_or(u64::MAX);
        let until = |used: u64| (used.max(now) + cost).min(max);
        let used = self.used_until.fetch_update(Relaxed, Relaxed, |used| Some(until(used)));
        // It never fails: `until` always has an answer.
        let (Ok(used) | Err(used)) = used;
        Duration::from_micros(until(used).saturating_sub(now + burst))
    }

    /// Whether the burst is used up.
    pub fn is_exceeded(&self, rate: Rate, now: Time) -> bool {
        self.used_until.load(Relaxed) > now.as_micros() + rate.micros(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 100, burst: 50 };

    fn at(millis: u64) -> Time {
        Time::from_micros(1_000_000_000 + millis * 1_000)
    }

    #[test]
    fn a_burst_is_free_and_what_follows_keeps_the_rate() {
        let limiter = RateLimiter::default();
        assert_eq!(limiter.charge(50, RATE, at(0)), Duration::ZERO);
        assert!(!limiter.is_exceeded(RATE, at(0)));
        assert_eq!(limiter.charge(10, RATE, at(0)), Duration::from_millis(100));
        assert!(limiter.is_exceeded(RATE, at(99)));
        assert!(!limiter.is_exceeded(RATE, at(100)));
        assert_eq!(limiter.charge(1, RATE, at(100)), Duration::from_millis(10));
        // In time all of the burst is there again.
        assert_eq!(limiter.charge(50, RATE, at(1_000)), Duration::ZERO);
    }

    #[test]
    fn no_flood_is_held_against_later_events_for_more_than_a_second() {
        let limiter = RateLimiter::default();
        for _ in 0..10 {
            limiter.charge(u32::MAX, RATE, at(0));
        }
        assert_eq!(limiter.charge(1, RATE, at(0)), Duration::from_secs(1));
        assert!(!limiter.is_exceeded(RATE, at(1_000)));
    }
}

//! What happens often is told seldom.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::Time;

/// How often a flood of refusals is told of in the log.
const EVERY: Duration = Duration::from_secs(10);

/// Says when it is time to tell again.
#[derive(Debug, Default)]
pub struct Seldom {
    told_at: AtomicU64,
}

impl Seldom {
    /// Whether to tell now: the first time, and then every ten seconds at most.
    pub fn is_due(&self, now: Time) -> bool {
        let last = self.told_at.load(Relaxed);
        let due = last == 0 || now.since(Time::from_micros(last)) >= EVERY;
        due && self.told_at.compare_exchange(last, now.as_micros(), Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_every_ten_seconds() {
        let seldom = Seldom::default();
        let at = |seconds: u64| seldom.is_due(Time::from_micros(seconds * 1_000_000));
        assert_eq!([at(1), at(1), at(10), at(11), at(12), at(30)], [true, false, false, true, false, true]);
    }
}

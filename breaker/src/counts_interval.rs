//! How often replicas tell each other what they count: the more of them there are, the more seldom.
//!
//! Each reads the rows of all others at every look. With one interval for any number of replicas the rows that are read a second
//! would grow with the square of the replicas; with one that grows as they do, only with the replicas.

use std::time::Duration;

/// Replicas up to which the interval is the shortest.
const REPLICAS: u32 = 10;

/// How often replicas tell each other what they counted of breakers that fail: from 200 ms to 3 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountsInterval(Duration);

impl CountsInterval {
    /// Of ten replicas or fewer.
    pub const SHORTEST: Self = Self(Duration::from_millis(200));
    /// Of 150 replicas or more: what was published stays for ten seconds, and is to be read in three intervals.
    pub const LONGEST: Self = Self(Duration::from_secs(3));

    /// Of so many live replicas, with the one that asks. Beyond ten it grows as they do.
    pub fn of(replicas: usize) -> Self {
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX).max(REPLICAS);
        let length = Self::SHORTEST.0.saturating_mul(replicas) / REPLICAS;
        Self(length.min(Self::LONGEST.0))
    }

    /// From one look to the next.
    pub const fn length(self) -> Duration {
        self.0
    }

    /// What was published is read for so long (three intervals); a replica that was not read for so long has to be seen anew.
    pub const fn fresh(self) -> Duration {
        self.0.saturating_mul(3)
    }

    /// A breaker is hot for so long after the newest call that failed, or was slow (ten intervals).
    pub const fn hot(self) -> Duration {
        self.0.saturating_mul(10)
    }

    /// How long a rate waits for replicas that publish nothing (two intervals).
    pub const fn rates_wait(self) -> Duration {
        self.0.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_ten_replicas_it_grows_as_they_do_up_to_three_seconds() {
        let millis = |replicas| CountsInterval::of(replicas).length().as_millis();
        let of = [0, 1, 10, 11, 30, 100, 150, 151, usize::MAX].map(millis);
        assert_eq!(of, [200, 200, 200, 220, 600, 2_000, 3_000, 3_000, 3_000]);
    }
}

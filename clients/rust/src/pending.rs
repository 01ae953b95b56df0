//! Successes of one breaker that were not counted yet: a hot path adds to them without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of breakerd's duration buckets, in milliseconds; the last bucket has none.
const BUCKETS_MILLIS: [u64; BUCKETS - 1] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];
/// See `RunDurations` of the API.
pub(crate) const BUCKETS: usize = 14;

/// The most successes that wait: as many as one outcome of the API can stand for.
const COUNT_MAX: u32 = 1_000_000;

/// Durations of several calls, as the API has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Durations {
    pub(crate) buckets: [u32; BUCKETS],
    pub(crate) sum: Duration,
}

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.buckets[bucket(duration)] += 1;
        self.sum += duration;
    }
}

pub(crate) fn bucket(duration: Duration) -> usize {
    let exceeds = |bound: &u64| duration > Duration::from_millis(*bound);
    BUCKETS_MILLIS.iter().take_while(|bound| exceeds(bound)).count()
}

/// The count in a word of [`Pending`].
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what it is about")]
const fn lower(word: u64) -> u32 {
    word as u32
}

/// Successes of one era of a breaker. See [`crate::cell::Cell`] for eras.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Pending {
    /// The era in the upper half, the count in the lower, so that both change at once.
    word: AtomicU64,
    sum_micros: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Pending {
    pub(crate) fn new(era: u32) -> Self {
        Self {
            word: AtomicU64::new(u64::from(era) << 32),
            buckets: Default::default(),
            sum_micros: AtomicU64::new(0),
        }
    }

    /// Adds a success. False: another era has begun, or too many wait; nothing was added.
    #[inline]
    pub(crate) fn add(&self, era: u32, duration: Duration) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if (word >> 32) != u64::from(era) || lower(word) >= COUNT_MAX {
                return false;
            }
            match self.word.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // After the count, so that there is never a duration without its call.
        self.buckets[bucket(duration)].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
        true
    }

    /// How many wait.
    pub(crate) fn count(&self) -> u32 {
        lower(self.word.load(Ordering::Acquire))
    }

    /// Takes what waits, and goes on in `era`.
    pub(crate) fn drain(&self, era: u32) -> (u32, Durations) {
        let count = lower(self.word.swap(u64::from(era) << 32, Ordering::AcqRel));
        let mut durations = Durations::default();
        if count == 0 {
            return (0, durations);
        }
        // Somebody may have counted a call and not its duration yet, which is then there for the next run: at most as many
        // durations as calls are taken.
        let mut left = count;
        for (taken, bucket) in durations.buckets.iter_mut().zip(&self.buckets) {
            let take = bucket.load(Ordering::Relaxed).min(left);
            bucket.fetch_sub(take, Ordering::Relaxed);
            *taken = take;
            left -= take;
        }
        durations.sum = Duration::from_micros(self.sum_micros.swap(0, Ordering::Relaxed));
        (count, durations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn durations_fall_into_the_buckets_of_the_api() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!((bucket(5 * MS), bucket(6 * MS)), (0, 1));
        assert_eq!((bucket(60_000 * MS), bucket(60_001 * MS)), (12, 13));
    }

    #[test]
    fn successes_of_another_era_are_not_added() {
        let pending = Pending::new(1);
        assert!(pending.add(1, MS) && pending.add(1, 20 * MS) && !pending.add(2, MS));
        let (count, durations) = pending.drain(2);
        assert_eq!((count, durations.sum), (2, 21 * MS));
        assert_eq!(durations.buckets[..3], [1, 0, 1]);
        assert!(!pending.add(1, MS) && pending.add(2, MS));
        assert_eq!((pending.count(), pending.drain(2).0, pending.drain(2).0), (1, 1, 0));
    }

    #[test]
    fn successes_of_many_threads_are_each_taken_once() {
        let pending = Pending::new(7);
        let mut taken = 0;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).for_each(|_| assert!(pending.add(7, MS)))))
                .collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                let (count, durations) = pending.drain(7);
                assert!(durations.buckets.iter().sum::<u32>() <= count);
                taken += count;
            }
        });
        assert_eq!(taken + pending.drain(7).0, 40_000);
    }
}

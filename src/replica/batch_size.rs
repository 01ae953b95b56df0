//! How much is asked of the store at one time.
//!
//! A half-open has up to 1,000 slots, and the store reads all of those that a batch is about, under locks. So a batch is bounded
//! by slots, and not by requests alone. A claim wants no more than there are.

use std::collections::BTreeSet;

use breaker::Key;

use crate::engine::RequestLimit;

/// What one batch has at the most: of claims, and of probes that are given back as much again. One request always fits.
pub(super) const LIMIT: RequestLimit = RequestLimit { breakers: 256, slots: 4_096 };

/// What is in a batch so far.
#[derive(Debug, Default)]
pub(super) struct BatchSize {
    requests: usize,
    slots: u32,
    half_opens: BTreeSet<(Key, u64)>,
}

impl BatchSize {
    /// Whether one request more fits, about a half-open with so many slots; then it is counted.
    pub(super) fn admits(&mut self, key: &Key, epoch: u64, slots: u32) -> bool {
        let half_open = (key.clone(), epoch);
        let is_new = !self.half_opens.contains(&half_open);
        let with = if is_new { self.slots.saturating_add(slots) } else { self.slots };
        let fits = self.requests == 0 || (self.requests < LIMIT.breakers && with <= LIMIT.slots);
        if fits {
            (self.requests, self.slots) = (self.requests + 1, with);
            self.half_opens.insert(half_open);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_by_requests_and_by_slots_and_one_always_fits() {
        let key = |number: u32| Key::new("db", &number.to_string()).unwrap();
        for (slots, fitting) in [(1, 256), (10, 256), (16, 256), (17, 240), (1_000, 4), (5_000, 1)] {
            let mut size = BatchSize::default();
            assert_eq!((0..1_000).take_while(|number| size.admits(&key(*number), 1, slots)).count(), fitting);
        }
        let mut size = BatchSize::default();
        assert_eq!(
            (0..1_000).take_while(|_| size.admits(&key(1), 1, 1_000)).count(),
            256,
            "of one half-open"
        );
    }
}

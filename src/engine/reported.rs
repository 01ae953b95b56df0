//! Which permits of other lives have been reported: of this process before its restart, or of another replica.
//!
//! Own permits are told by a bitmap beside their breaker, which knows which numbers it gave. The numbers of another
//! issuer are unknown here, so what was reported under them stands in one table for all breakers: 8 bytes each, a hash
//! of breaker, issuer and number. It is asked for permits of others only.

use std::time::Duration;

use breaker::Time;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::permit::Permit;
use super::sync::Mutex;

/// How long a reported permit is remembered, at least, unless more than [`GENERATION_MAX`] others come after it. Clients
/// send a report again within seconds; a rolling restart of a fleet takes minutes.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Permits of one generation: what fits into 2^19 buckets, 4.5 MiB. There are two. At the bound the older generation goes
/// before its time, so that the newest half a million are always remembered.
const GENERATION_MAX: usize = if cfg!(test) { TESTED_GENERATION_MAX } else { 458_752 };
/// As few for an engine of a test: a simulation has hundreds of thousands of them, and would mostly clear tables.
const TESTED_GENERATION_MAX: usize = 3_584;

/// The permits of other issuers that were reported.
#[derive(Debug)]
pub(super) struct ReportedPermits {
    generations: Mutex<Generations>,
    generation_max: usize,
}

/// What was noted since `since`, and what was noted in the [`REMEMBERED`] before that. The hashes are their own hashes.
#[derive(Debug)]
struct Generations {
    since: Time,
    newer: HashTable<u64>,
    older: HashTable<u64>,
}

impl Default for ReportedPermits {
    fn default() -> Self {
        Self::with_bound(GENERATION_MAX)
    }
}

impl ReportedPermits {
    fn with_bound(generation_max: usize) -> Self {
        let generations = Generations { since: Time::ZERO, newer: HashTable::new(), older: HashTable::new() };
        Self { generations: Mutex::new(generations), generation_max }
    }

    /// Takes note of a permit; false when it was noted before.
    pub(super) fn note(&self, permit: &Permit, now: Time) -> bool {
        let hash = permit.hash();
        let mut generations = self.generations.lock();
        generations.turn(now, self.generation_max);
        if generations.older.find(hash, |noted| *noted == hash).is_some() {
            return false;
        }
        match generations.newer.entry(hash, |noted| *noted == hash, |noted| *noted) {
            Slot::Occupied(_) => false,
            Slot::Vacant(slot) => {
                slot.insert(hash);
                true
            }
        }
    }
}

impl Generations {
    /// Lets the newer generation become the older one when it is full, or old enough.
    fn turn(&mut self, now: Time, generation_max: usize) {
        let age = now.since(self.since);
        if self.newer.len() < generation_max && age < REMEMBERED {
            return;
        }
        // Both are over when nothing was noted for so long.
        if age >= 2 * REMEMBERED {
            self.newer.clear();
        }
        std::mem::swap(&mut self.newer, &mut self.older);
        self.newer.clear();
        // In one piece, so that no report waits while the table grows.
        self.newer.reserve(generation_max, |noted| *noted);
        self.since = now;
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use breaker::Pass;

    use super::super::permit::{KeyId, PermitKind};
    use super::*;

    fn permit(issuer: u64, number: u64) -> Permit {
        Permit {
            timeline: 0,
            key: KeyId(5),
            branch: 0,
            kind: PermitKind::Tracked,
            pass: Pass { epoch: 0, number, probe: None },
            issuer,
            issued_at: Time::ZERO,
            config_revision: 0,
        }
    }

    fn at(seconds: u64) -> Time {
        Time::from_micros(1_700_000_000_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_permit_is_new_once_and_for_ten_minutes() {
        let reported = ReportedPermits::default();
        assert!(reported.note(&permit(1, 7), at(0)));
        assert!(!reported.note(&permit(1, 7), at(1)));
        assert!(reported.note(&permit(1, 8), at(1)), "another number");
        assert!(reported.note(&permit(2, 7), at(1)), "another issuer");
        assert!(reported.note(&Permit { key: KeyId(6), ..permit(1, 7) }, at(1)), "another breaker");
        assert!(reported.note(&permit(1, 9), at(599)));
        assert!(!reported.note(&permit(1, 9), at(1_198)), "within ten minutes, over a change of generations");
        assert!(reported.note(&permit(1, 7), at(1_800)), "long ago");
        assert!(reported.note(&permit(1, 7), at(9_999)), "and nothing since");
    }

    #[test]
    fn nothing_is_remembered_for_more_than_twenty_minutes() {
        let reported = ReportedPermits::default();
        for (number, second) in [(1, 0), (2, 600), (3, 1_199), (1, 1_200)] {
            assert!(reported.note(&permit(1, number), at(second)), "{number} at {second}");
        }
    }

    #[test]
    fn at_the_bound_the_oldest_are_forgotten_and_the_newest_are_not() {
        let reported = ReportedPermits::with_bound(1_000);
        for number in 0..10_000 {
            assert!(reported.note(&permit(1, number), at(0)));
            assert!(!reported.note(&permit(1, number), at(0)));
        }
        let generations = reported.generations.lock();
        assert!(generations.newer.len() <= 1_000 && generations.older.len() <= 1_000);
        assert!(generations.newer.capacity() + generations.older.capacity() < 4_000);
        drop(generations);
        assert!((9_000..10_000).all(|number| !reported.note(&permit(1, number), at(0))));
        assert!(reported.note(&permit(1, 5), at(0)), "forgotten, and counted once more");
    }
}

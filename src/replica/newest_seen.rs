//! The changes that a replica was told of, by a poll or by an answer, and that no poll has checked yet: a store that does not have
//! one of them went back.
//!
//! All of them are checked, and not only the newest: the store may have gone back between two answers, and a later change that it
//! has says nothing of an earlier one. Answers may come in another order than they were given in. Two changes that were told under one
//! number are kept both: the store has one of them at the most.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::store::{ChangeId, Position, SeenPosition};

/// Changes between two polls that are kept: the newest beyond it makes way.
const UNCHECKED_MAX: usize = 256;

/// What was told of a store, in one timeline.
#[derive(Debug, Default)]
pub struct NewestSeen(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    timeline: u32,
    /// Revisions with their nonces. The first is the newest that a poll has told of.
    told: BTreeSet<(u64, u64)>,
}

impl NewestSeen {
    /// Beginning with what is known from an earlier life, or of a timeline of which nothing is known yet.
    pub fn new(seen: SeenPosition) -> Self {
        let SeenPosition { timeline, change: ChangeId { revision, nonce } } = seen;
        let told = if revision == 0 { BTreeSet::new() } else { BTreeSet::from([(revision, nonce)]) };
        Self(Mutex::new(Seen { timeline, told }))
    }

    /// The timeline.
    pub fn timeline(&self) -> u32 {
        self.0.lock().timeline
    }

    /// The newest change that was told.
    pub fn newest(&self) -> ChangeId {
        let seen = self.0.lock();
        let newest = seen.told.last();
        newest.map_or_else(ChangeId::default, |&(revision, nonce)| ChangeId { revision, nonce })
    }

    /// What is to be checked, in the order of the revisions.
    pub(super) fn told(&self) -> Vec<ChangeId> {
        let seen = self.0.lock();
        seen.told.iter().map(|&(revision, nonce)| ChangeId { revision, nonce }).collect()
    }

    /// An answer told of a change. One of another timeline is ignored.
    pub(super) fn note(&self, timeline: u32, change: ChangeId) {
        let mut seen = self.0.lock();
        if seen.timeline != timeline || change.revision == 0 {
            return;
        }
        seen.told.insert((change.revision, change.nonce));
        if seen.told.len() > UNCHECKED_MAX {
            seen.told.pop_last();
        }
    }

    /// A poll found all of these in the store.
    pub(super) fn checked(&self, told: &[ChangeId], position: &Position) {
        {
            let mut seen = self.0.lock();
            if seen.timeline != position.timeline {
                return;
            }
            for ChangeId { revision, nonce } in told {
                seen.told.remove(&(*revision, *nonce));
            }
        }
        self.note(position.timeline, position.newest);
    }

    /// The store is in another timeline, which had this change when it was read.
    pub(super) fn begin(&self, timeline: u32, change: ChangeId) {
        *self.0.lock() = Self::new(SeenPosition { timeline, change }).0.into_inner();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, nonce: u64) -> ChangeId {
        ChangeId { revision, nonce }
    }

    fn at(newest: ChangeId) -> Position {
        Position { timeline: 3, newest, nonce: None, is_checked: true }
    }

    #[test]
    fn what_was_told_is_kept_until_a_poll_has_found_it() {
        let seen = NewestSeen::new(SeenPosition { timeline: 3, change: change(10, 1) });
        seen.note(3, change(12, 2));
        seen.note(2, change(13, 3));
        let told = seen.told();
        assert_eq!(told, [change(10, 1), change(12, 2)]);
        // Meanwhile the store went back, and gave the numbers again.
        seen.note(3, change(12, 9));
        seen.note(3, change(14, 4));
        assert_eq!(seen.told(), [change(10, 1), change(12, 2), change(12, 9), change(14, 4)]);
        seen.checked(&told, &at(change(15, 5)));
        assert_eq!(seen.told(), [change(12, 9), change(14, 4), change(15, 5)]);
        seen.begin(4, change(2, 6));
        assert_eq!((seen.timeline(), seen.told()), (4, vec![change(2, 6)]));
    }

    /// An answer of before the store went back may come after one of since then.
    #[test]
    fn of_two_changes_of_one_number_neither_hides_the_other() {
        for (first, second) in [(2, 9), (9, 2)] {
            let seen = NewestSeen::new(SeenPosition { timeline: 3, change: change(10, 1) });
            seen.note(3, change(12, first));
            seen.note(3, change(12, second));
            assert_eq!(seen.told(), [change(10, 1), change(12, 2), change(12, 9)]);
        }
    }

    #[test]
    fn so_many_are_kept() {
        let seen = NewestSeen::default();
        for revision in 1..1_000 {
            seen.note(0, change(revision, 1));
        }
        assert_eq!((seen.told().len(), seen.told()[0]), (UNCHECKED_MAX, change(1, 1)));
    }
}

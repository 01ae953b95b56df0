//! The changes that a replica was told of, by a poll or by an answer, and that no poll has checked yet: a store that does not have
//! one of them went back.
//!
//! All of them are checked, and not only the newest: the store may have gone back between two answers, and a later change that it
//! has says nothing of an earlier one.

use std::collections::BTreeMap;

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
    /// Nonces by revision. The first is the newest that a poll has told of.
    told: BTreeMap<u64, u64>,
}

impl NewestSeen {
    /// Beginning with what is known from an earlier life, or of a timeline of which nothing is known yet.
    pub fn new(seen: SeenPosition) -> Self {
        let SeenPosition { timeline, change: ChangeId { revision, nonce } } = seen;
        let told = if revision == 0 { BTreeMap::new() } else { BTreeMap::from([(revision, nonce)]) };
        Self(Mutex::new(Seen { timeline, told }))
    }

    /// The timeline.
    pub fn timeline(&self) -> u32 {
        self.0.lock().timeline
    }

    /// The newest change that was told.
    pub fn newest(&self) -> ChangeId {
        let seen = self.0.lock();
        let newest = seen.told.last_key_value();
        newest.map_or_else(ChangeId::default, |(revision, nonce)| ChangeId {
            revision: *revision,
            nonce: *nonce,
        })
    }

    /// What is to be checked, in the order of the revisions.
    pub(super) fn told(&self) -> Vec<ChangeId> {
        let seen = self.0.lock();
        seen.told.iter().map(|(revision, nonce)| ChangeId { revision: *revision, nonce: *nonce }).collect()
    }

    /// An answer told of a change. One of another timeline is ignored.
    pub(super) fn note(&self, timeline: u32, change: ChangeId) {
        let mut seen = self.0.lock();
        if seen.timeline != timeline || change.revision == 0 {
            return;
        }
        // The first that was told under a number stays: if the store told another since, it does not have this one any more.
        seen.told.entry(change.revision).or_insert(change.nonce);
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
            seen.told.retain(|revision, _| !told.iter().any(|change| change.revision == *revision));
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
        assert_eq!(seen.told(), [change(10, 1), change(12, 2), change(14, 4)]);
        seen.checked(&told, &at(change(15, 5)));
        assert_eq!(seen.told(), [change(14, 4), change(15, 5)]);
        seen.begin(4, change(2, 6));
        assert_eq!((seen.timeline(), seen.told()), (4, vec![change(2, 6)]));
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

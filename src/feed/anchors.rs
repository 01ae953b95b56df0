//! The newest changes that were seen of a store: they detect a restore, and which history a token is of.

use std::collections::VecDeque;

use crate::store::{ChangeId, Position};

/// Changes that are remembered, 16 bytes each. A token that names an older one is checked against the store.
const CHANGES_MAX: usize = 4_096;

/// The changes that this process has seen at the end of the history, of one timeline.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    /// None: the store was not read yet.
    timeline: Option<u32>,
    /// In the order of their revisions; at [`CHANGES_MAX`] the oldest goes.
    seen: VecDeque<ChangeId>,
}

impl Anchors {
    /// The timeline that the changes are of.
    pub(super) fn timeline(&self) -> Option<u32> {
        self.timeline
    }

    /// The newest change; before any was seen: revision 0.
    pub(super) fn newest(&self) -> ChangeId {
        self.seen.back().copied().unwrap_or_default()
    }

    /// Whether this process has seen `change`.
    pub(super) fn contains(&self, change: ChangeId) -> bool {
        let found = self.seen.binary_search_by_key(&change.revision, |seen| seen.revision);
        found.is_ok_and(|index| self.seen.get(index) == Some(&change))
    }

    /// Records the position of the store; `seen` is the change that it was queried with. False: it is not the history, or
    /// not the timeline, that was seen before, and nothing is recorded.
    pub(super) fn note(&mut self, seen: ChangeId, position: &Position) -> bool {
        let timeline = *self.timeline.get_or_insert(position.timeline);
        if timeline != position.timeline || position.went_back_behind(seen) {
            return false;
        }
        if position.newest.revision > self.newest().revision {
            if self.seen.len() == CHANGES_MAX {
                self.seen.pop_front();
            }
            self.seen.push_back(position.newest);
        }
        true
    }

    /// Starts over at `position`: the store has another history.
    pub(super) fn reset(&mut self, position: &Position) {
        *self = Self { timeline: Some(position.timeline), seen: VecDeque::from([position.newest]) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64) -> ChangeId {
        ChangeId { revision, nonce: revision.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    fn at(timeline: u32, newest: ChangeId, nonce: Option<u64>) -> Position {
        Position { timeline, newest, nonce, is_checked: true }
    }

    #[test]
    fn a_store_that_went_back_is_told_by_its_revision_its_nonce_or_its_timeline() {
        let mut anchors = Anchors::default();
        assert!(anchors.note(ChangeId::default(), &at(1, change(7), None)));
        let seen = anchors.newest();
        assert_eq!(seen, change(7));
        assert!(anchors.note(seen, &at(1, change(7), Some(seen.nonce))), "nothing has happened");
        assert!(anchors.note(seen, &at(1, change(9), Some(seen.nonce))));
        let seen = anchors.newest();
        assert!(!anchors.note(seen, &at(1, change(8), None)), "before what was seen");
        assert!(!anchors.note(seen, &at(1, change(12), Some(1))), "another change at the same revision");
        assert!(!anchors.note(seen, &at(2, change(12), Some(seen.nonce))), "another timeline");
        assert!(anchors.note(seen, &at(1, change(2_000), None)), "pruned is not gone back");
        assert!(anchors.contains(change(7)) && anchors.contains(change(9)) && !anchors.contains(change(8)));
        assert!(!anchors.contains(ChangeId { nonce: 0, ..change(9) }));
        anchors.reset(&at(2, change(5), None));
        assert_eq!((anchors.timeline(), anchors.newest()), (Some(2), change(5)));
        assert!(!anchors.contains(change(7)));
    }

    #[test]
    fn so_many_changes_are_remembered() {
        let mut anchors = Anchors::default();
        for revision in 1..=10_000 {
            let seen = anchors.newest();
            assert!(anchors.note(seen, &at(1, change(revision), Some(seen.nonce))));
        }
        assert_eq!(anchors.seen.len(), CHANGES_MAX);
        assert!(anchors.contains(change(10_000)) && !anchors.contains(change(5_000)));
    }
}

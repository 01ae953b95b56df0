//! What a replica knows of the timelines of its store: how it notices that the store went back, and which states are to be taken
//! up after that. What it does then is in `new_timeline.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use breaker::{Numbering, Time};

use super::newest_seen::NewestSeen;
use crate::engine::TakenUp;
use crate::journal::Journal;
use crate::protocol_rules::{Rule, holds};
use crate::store::{
    Change, ChangeId, ChangedRow, DecidedIn, Position, Proposal, RowsPage, SeenPosition, TransitionId,
    entered_again,
};

/// What a replica knows of timelines.
#[derive(Default)]
pub(super) struct Timelines {
    /// The one whose rows are all taken over.
    pub(super) taken: u32,
    pub(super) seen: Arc<NewestSeen>,
    pub(super) journal: Option<Arc<Journal>>,
    /// States of before that the store has not heard of yet.
    pub(super) taken_up: Vec<Proposal>,
    next_seq: u64,
    /// The half-opens that entered again in the present timeline and that the journal has, by the numbers of their transitions.
    pub(super) entered_again: HashSet<u64>,
}

/// How a store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It goes on from what was seen of it.
    Same,
    /// It may lack what it told, and is to have another timeline.
    WentBack,
    /// It has another timeline, which somebody has begun.
    Begun,
}

impl Timelines {
    pub(super) fn new(timeline: u32) -> Self {
        let seen = Arc::new(NewestSeen::new(SeenPosition { timeline, change: ChangeId::default() }));
        Self { taken: timeline, seen, ..Self::default() }
    }

    /// What is known of an earlier life may be of an earlier timeline than `timeline`, the one that a start has found.
    pub(super) fn follow(&mut self, journal: Arc<Journal>, seen: Arc<NewestSeen>, timeline: u32) {
        if seen.timeline() < timeline {
            seen.begin(timeline, ChangeId::default());
        }
        (self.journal, self.seen) = (Some(journal), seen);
    }

    /// The changes that the store is to have.
    pub(super) fn told(&self) -> Vec<ChangeId> {
        self.seen.told()
    }

    /// How the store was found, which was asked about the changes `told`.
    pub(super) fn compare(&self, told: &[ChangeId], page: &RowsPage) -> Found {
        let RowsPage { position, seen, .. } = page;
        let is_unchecked = !position.is_checked && holds(Rule::NewServerNewTimeline);
        let is_missing = |told: &ChangeId| {
            // One without a nonce is so old that it was pruned.
            let nonce = seen.iter().find(|seen| seen.revision == told.revision).map(|seen| seen.nonce);
            Position { nonce, ..*position }.lacks(*told)
        };
        let is_of_seen = position.timeline == self.seen.timeline();
        if is_unchecked || position.timeline < self.seen.timeline().max(self.taken) {
            Found::WentBack
        } else if is_of_seen && told.iter().any(is_missing) && holds(Rule::NonceCompared) {
            // Also while its rows are read for the first time.
            Found::WentBack
        } else if position.timeline > self.taken {
            Found::Begun
        } else {
            Found::Same
        }
    }

    /// What let a half-open enter again, as the timeline began, is taken down before the row that was read is taken, once: no replica
    /// has proposed it, and callers are told of it. An answer may have brought the row before, which takes nothing down. Should the
    /// store go back once more, the history has it from here.
    pub(super) fn keep_entered_again(&mut self, changed: &ChangedRow) {
        let Some(journal) = self.journal.as_ref().filter(|_| holds(Rule::EnteredAgainKept)) else { return };
        if let Some(entered_again) = entered_again(changed)
            && self.entered_again.insert(entered_again.id.seq)
        {
            journal.keep(entered_again);
        }
    }

    /// States that breakers were in, to be proposed in `timeline`.
    pub(super) fn take_up(&mut self, states: Vec<TakenUp>, timeline: u32, now: Time) {
        let Some(journal) = &self.journal else { return };
        for TakenUp { key, transition, age } in states {
            let taken_up = Some(transition.after.epoch);
            self.next_seq += 1;
            // Not the ids of the journal, nor those of acts and of probes.
            let boot = journal.boot().rotate_left(32);
            self.taken_up.push(Proposal {
                id: TransitionId { replica: journal.replica(), boot, seq: self.next_seq },
                key,
                change: Change::Transition(Box::new(transition)),
                numbering: Numbering::Store,
                store_unavailable: false,
                decided_at: now,
                service_override: None,
                age,
                decided_in: DecidedIn { taken_up, ..DecidedIn::timeline(timeline) },
            });
        }
    }
}

/// The revisions of changes.
pub(super) fn revisions(changes: &[ChangeId]) -> Vec<u64> {
    changes.iter().map(|change| change.revision).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RowCursor;

    fn page(newest: ChangeId, seen: Vec<ChangeId>) -> RowsPage {
        let position = Position { timeline: 5, newest, nonce: None, is_checked: true };
        RowsPage {
            rows: Vec::new(),
            unreadable: Vec::new(),
            next: RowCursor::default(),
            is_last: true,
            position,
            seen,
            configuration: 0,
        }
    }

    /// A backup is restored under the present timeline, before the first page of its rows is followed by the others.
    #[test]
    fn a_store_that_goes_back_while_its_new_timeline_is_taken_over_is_noticed() {
        let timelines = Timelines::new(3);
        let told = ChangeId { revision: 10, nonce: 1 };
        timelines.seen.begin(5, ChangeId::default());
        timelines.seen.note(5, told);
        for (newest, has, found) in [
            (told, vec![told], Found::Begun),
            (ChangeId { revision: 11, nonce: 2 }, vec![told], Found::Begun),
            (ChangeId { revision: 9, nonce: 7 }, vec![], Found::WentBack),
            (ChangeId { revision: 11, nonce: 8 }, vec![ChangeId { nonce: 9, ..told }], Found::WentBack),
        ] {
            assert_eq!(timelines.compare(&timelines.told(), &page(newest, has)), found, "{newest:?}");
        }
    }
}

//! A store that went back: each breaker is taken over into the new timeline of the store, and what it was in before is told.
//!
//! Until a breaker is taken over it is in the timeline before, with its permits; then those of before are late. Answers of
//! another timeline change nothing.

use std::time::Duration;

use breaker::{Breaker, EnteredBy, Key, StoredRow, Time, Transition};

use super::Engine;
use super::replication::{AnswerOrder, Shown};
use super::store_requests::AnswerGroup;

/// The state that a breaker was in before the store went back, to be proposed to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenUp {
    /// The breaker.
    pub key: Key,
    /// Takes the state up again: its base is the epoch before that of the state, in the timeline before.
    pub transition: Transition,
    /// How long the state had lasted.
    pub age: Duration,
}

impl Engine {
    /// The newest timeline of the store that was heard of.
    pub fn timeline(&self) -> u32 {
        self.registry.timeline()
    }

    /// The store has another timeline. Its rows are to be taken with [`Engine::take_timeline`], and of breakers without a row
    /// ([`Engine::outside_timeline`]) one that says so.
    pub fn begin_timeline(&self, timeline: u32) {
        let present = self.timeline();
        for entry in self.registry.entries() {
            if let Some(mut inner) = entry.lock() {
                inner.breaker.began_in(present);
            }
        }
        self.registry.set_timeline(timeline);
    }

    /// The timeline that a breaker is in.
    pub(super) fn timeline_of(&self, breaker: &Breaker) -> u32 {
        breaker.timeline().unwrap_or_else(|| self.timeline())
    }

    /// Takes the row of a breaker in a new timeline. Answers the state that it was in before, if that was a later one.
    ///
    /// A row of the timeline that it is in already is taken as [`Engine::take_answer`] takes it: an answer may have come before, or the
    /// rows are read once more.
    pub fn take_timeline(
        &self,
        key: &Key,
        row: &StoredRow,
        entered_by: Option<EnteredBy>,
        now: Time,
    ) -> Option<TakenUp> {
        let id = self.seals.key_id(key.service(), key.name());
        let before = loop {
            let entry = self.answered_entry(id, key, (Some(row), entered_by), AnswerOrder::InTurn, now)?;
            let Some(mut inner) = entry.lock() else { continue };
            self.sync_wall(&mut inner);
            let shown = Shown::of(&inner.breaker);
            let before = inner.breaker.adopt_timeline(row, now);
            self.show_taken(&entry, &mut inner, shown, (Some(row), entered_by));
            break before;
        };
        self.replication.answered(AnswerGroup::of(id)).notify_waiters();
        before.map(|(transition, age)| TakenUp { key: key.clone(), transition, age })
    }

    /// The timeline that a breaker is in, if it is known here.
    #[cfg(test)]
    pub(crate) fn breaker_timeline(&self, service: &str, name: &str) -> u32 {
        let of = |_: &super::Entry, inner: &mut super::Inner| self.timeline_of(&inner.breaker);
        let known = self.registry.with_known(self.seals.key_id(service, name), of);
        known.unwrap_or_else(|| self.timeline())
    }

    /// The breakers that are in an earlier timeline still.
    pub fn outside_timeline(&self) -> Vec<Key> {
        let timeline = self.timeline();
        let is_outside = |breaker: &Breaker| breaker.timeline().is_some_and(|of| of < timeline);
        let entries = self.registry.entries();
        let outside =
            entries.into_iter().filter(|entry| entry.lock().is_some_and(|inner| is_outside(&inner.breaker)));
        outside.map(|entry| entry.key.clone()).collect()
    }
}

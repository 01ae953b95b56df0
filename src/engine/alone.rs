//! A replica that is alone: breakers decide by themselves what only the store would let through ([`breaker::Breaker::set_alone`]).
//!
//! Each breaker hears of it at the next look, as it hears of a wall clock that was set. Those that wait for the store are looked
//! at soon by their timers; those that decided something alone go back to their rows when the replica is alone no longer.

use std::ops::Bound;

use breaker::{State, Time};

use super::Engine;
use super::entry::{Entry, Inner};
use super::index::Selected;
use crate::protocol_rules::{Rule, holds};

/// Breakers looked up at one time.
const PAGE: usize = 256;

impl Engine {
    /// Whether breakers decide by themselves what only the store would let through.
    pub fn is_alone(&self) -> bool {
        self.branches.are_allowed()
    }

    /// The store does not answer, and breakers are to decide by themselves; or it answers again, and what they decided so is over.
    pub fn set_alone(&self, is_alone: bool) {
        if !self.branches.allow(is_alone) {
            return;
        }
        if is_alone {
            self.wake_waiting();
            return;
        }
        for id in self.branches.take() {
            self.registry.with_known(id, |entry, inner| {
                self.sync_wall(inner);
                self.registry.reindex(entry, inner);
                self.arm(entry, inner);
                self.note_requests(entry, inner);
                self.sink.moved(&entry.key);
            });
        }
    }

    /// Breakers that are open or half-open have other deadlines from now on.
    fn wake_waiting(&self) {
        let mut next = Some(Bound::Unbounded);
        while let Some(from) = next.take() {
            let states = [State::Open, State::HalfOpen];
            let page = self.registry.index().page(&states, from, PAGE, |_| Selected::Yes);
            for entry in page.entries {
                let Some(mut inner) = entry.lock() else { continue };
                self.sync_wall(&mut inner);
                self.arm(&entry, &mut inner);
            }
            next = page.next;
        }
    }

    /// A breaker made a transition alone.
    pub(super) fn note_branch(&self, entry: &Entry, inner: &mut Inner) {
        self.branches.note(entry.id);
        // Those that stood on a branch before were told; this one was not.
        if !self.is_alone() {
            inner.breaker.set_alone(false);
        }
    }

    /// Before something is done to a breaker that may leave its branch: what is due there is decided alone.
    pub(super) fn settle_branch(&self, entry: &Entry, inner: &mut Inner, now: Time) {
        if self.is_alone() && inner.breaker.is_due(now) {
            self.look(entry, inner, now);
        }
    }

    pub(super) fn sync_alone(&self, inner: &mut Inner) {
        let goes_on = inner.breaker.is_on_branch() && !holds(Rule::BranchEndsWithAnswer);
        inner.breaker.set_alone(self.is_alone() || goes_on);
    }
}

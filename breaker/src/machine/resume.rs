//! A replica that starts while the store is away: it goes on with the rows that it last knew of, and with the changes that it made in an
//! earlier life and that the store has not answered yet.

use super::Breaker;
use super::stored_row::{EarlierAnswer, Proposal, ProposalId, RowVersion};
use crate::state::{Scope, State};
use crate::time::Time;
use crate::transition::{Snapshot, Transition};

impl Breaker {
    /// The row that stands in the store, as far as is known here, and which version it is: for one who keeps it. Its times are
    /// those of the wall clock.
    pub fn known_row(&self) -> (Snapshot, RowVersion) {
        let base = self.replicated.as_ref().and_then(|replicated| replicated.proposal.as_ref());
        let row = base.map_or_else(|| self.phase_snapshot(), |proposal| proposal.base.0.clone());
        (row, self.taken())
    }

    /// A change of an earlier life, of which the store has not said what became of it, stands again until it does: as before, if
    /// it rejects calls. One that was made on an older row than the one that is known says nothing, and what lets calls through
    /// waits for the store. A trip that the row, which is OPEN, overtook is remembered, should the store go back.
    ///
    /// One that the store had answered stands until a newer row comes: the row that is known may be of a moment before.
    ///
    /// False: it does not stand.
    pub fn resume(
        &mut self,
        id: ProposalId,
        transition: &Transition,
        answer: EarlierAnswer,
        now: Time,
    ) -> bool {
        let now = self.clock(now);
        let is_answered = answer == EarlierAnswer::Given;
        let Transition { base_epoch, from, after, shadow, .. } = transition;
        let rejects = matches!(after.state, State::Open | State::ForcedOpen);
        let is_older = *base_epoch < self.epoch || (*base_epoch == self.epoch && *from != self.state());
        // FORCED_OPEN by hand stands whatever the row is, until the store has answered.
        let is_emergency = !is_answered
            && after.state == State::ForcedOpen
            && after.set_by.as_ref().is_some_and(|set_by| set_by.scope == Scope::Breaker);
        if *shadow || !rejects || (is_older && !is_emergency) {
            let is_trip = !is_answered && !*shadow && (*from, after.state) == (State::Closed, State::Open);
            self.remember_overtaken(Some(id).filter(|_| is_trip && base_epoch + 1 == self.epoch));
            return false;
        }
        self.epoch = self.epoch.max(*base_epoch);
        self.propose(transition.reason);
        let proposal = self.replicated.as_mut().and_then(|replicated| replicated.proposal.take());
        let proposal = proposal.map(|proposal| Proposal { is_answered, ..proposal });
        let entered_at = self.wall.to_monotonic(after.entered_at);
        self.take_over(Snapshot { epoch: self.epoch, ..after.clone() }, entered_at, now);
        let replicated = self.replicated.get_or_insert_default();
        replicated.proposal = proposal;
        self.proposed_as(id);
        true
    }
}

//! A trip that the OPEN of another replica overtook, before the store answered it.
//!
//! While the row is OPEN, the trip stands for nothing: the row denies. Should the store go back and lose that row, the trip is what
//! denies again, as no store has answered it. So its id is remembered until the row is another one, also while the wait of the OPEN is
//! over here and the store has yet to agree. In a new timeline it holds until it is answered.

use super::Breaker;
use super::stored_row::{Proposal, ProposalId, Replicated};
use crate::state::State;
use crate::time::Time;

impl Breaker {
    /// The trip that the store has not answered: one under way, or one that was overtaken.
    pub(super) fn unanswered_trip(&self) -> Option<ProposalId> {
        let Replicated { proposal, overtaken_trip, .. } = &**self.replicated.as_ref()?;
        let Some(proposal) = proposal else { return *overtaken_trip };
        let is_trip = self.phase_state() == State::Open && proposal.base.0.state == State::Closed;
        proposal.id.filter(|_| is_trip && !proposal.is_answered)
    }

    /// The row that was taken over is OPEN, and this trip is not answered yet.
    pub(super) fn remember_overtaken(&mut self, trip: Option<ProposalId>) {
        let trip = trip.filter(|_| self.phase_state() == State::Open);
        if let Some(replicated) = &mut self.replicated {
            replicated.overtaken_trip = trip;
        }
    }

    /// The store answered this proposal, or never will.
    pub(super) fn settle_overtaken(&mut self, id: ProposalId) {
        if let Some(replicated) = &mut self.replicated {
            replicated.overtaken_trip.take_if(|overtaken| *overtaken == id);
        }
    }

    /// The store has another timeline: a trip that it has not answered holds until it does, one that was overtaken with what is left
    /// of the wait of the OPEN that overtook it. If that is over by the clock here, the store has not said so yet: it holds as well.
    pub(super) fn hold_trip(&mut self, now: Time) {
        if let Some(replicated) = &mut self.replicated
            && replicated.overtaken_trip.is_some()
            && let Some(proposal) = replicated.proposal.take_if(|proposal| proposal.is_timed)
        {
            let (base, entered_at) = proposal.base.clone();
            self.go_back(base, proposal, entered_at, now);
        }
        let Some(id) = self.unanswered_trip() else { return };
        let row = (self.phase_snapshot(), self.entered_at);
        let replicated = self.replicated.get_or_insert_default();
        replicated.overtaken_trip = None;
        let proposal = replicated.proposal.get_or_insert(Proposal {
            id: Some(id),
            base: row,
            probes: None,
            is_timed: false,
            is_held: true,
            is_answered: false,
        });
        proposal.is_held = true;
    }
}

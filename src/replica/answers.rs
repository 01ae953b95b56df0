//! What the store answered to proposals, on its way from the journal's writer to the breakers.

use std::sync::Arc;

use breaker::{ProposalAnswer, ProposalId};
use breakerd_common::clock::Clock;

use super::newest_seen::NewestSeen;
use super::standing::standing;
use crate::engine::{Engine, Standing, StoreAnswer};
use crate::journal::writer::AnswerSink;
use crate::protocol_rules::{Rule, holds};
use crate::store::{Answer, Answered, Change, Proposal};

/// Gives breakers the answers to what they proposed.
#[derive(Clone)]
pub struct Answers {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    seen: Arc<NewestSeen>,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answers {
    /// To the breakers of `engine`.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, seen: Arc::default() }
    }

    /// The same, and tells `seen` of the changes that answers name.
    #[must_use]
    pub fn noting(self, seen: Arc<NewestSeen>) -> Self {
        Self { seen, ..self }
    }
}

impl AnswerSink for Answers {
    fn is_present(&self, answered: &Answered) -> bool {
        let is_present = answered.row.row.version.timeline == self.engine.timeline();
        is_present || !holds(Rule::OtherTimelineSettlesNothing)
    }

    fn timeline(&self) -> u32 {
        self.engine.timeline()
    }

    fn answered(&self, proposal: &Proposal, answered: &Answered) {
        self.seen.note(answered.row.row.version.timeline, answered.newest);
        let id = ProposalId { boot: proposal.id.boot, number: proposal.id.seq };
        let answer = match answered.answer {
            Answer::Won { .. } => ProposalAnswer::Won,
            Answer::Lost { .. } => ProposalAnswer::Lost,
        };
        let answer = StoreAnswer::Proposal { id, answer, row: &answered.row.row };
        self.engine.take_answer(&proposal.key, &answer, answered.row.entered_by, self.clock.now());
        if let (Answer::Won { epoch, .. }, Change::Transition(transition)) =
            (&answered.answer, &proposal.change)
            && !transition.shadow
            // What the store had answered before was counted then, or is counted by nobody.
            && !proposal.decided_in.is_repeat
        {
            let row = &answered.row.row.snapshot;
            let standing = standing(&proposal.key, transition, &proposal.id, *epoch, row);
            let store_unavailable = proposal.store_unavailable;
            self.engine.note_won(&Standing { store_unavailable, ..standing });
        }
    }

    fn dropped(&self, proposal: &Proposal) {
        let id = ProposalId { boot: proposal.id.boot, number: proposal.id.seq };
        self.engine.take_answer(&proposal.key, &StoreAnswer::Dropped(id), None, self.clock.now());
    }
}

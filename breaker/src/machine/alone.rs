//! A replica that is alone: the store answers nothing, and may not for an hour.
//!
//! Then nobody would let calls through again, and every breaker that is open would stay so, however well its dependency is. So a
//! breaker that is told so ([`Breaker::set_alone`]) goes on by itself from where only the store could let it go on: from OPEN
//! when its wait is over, be it the row's or a trip that the store has not answered, and from HALF_OPEN. What it decides so
//! is a *branch*: a breaker of its own that stands over the row, by the rules of a lone process, with P probes of this replica. It
//! changes neither the epoch nor the proposal under way, and leaves no trace when it ends: with any answer of the store, a
//! newer row, an operator's act, or as soon as the replica is no longer alone. Then the breaker goes on from the row.
//!
//! What is given on a branch is named by it ([`Decision::branch`]), so that nobody takes it for the store's.

use super::phase::Phase;
use super::{Breaker, Identity, Numbering};
use crate::outcome::{Decision, Pass, Recorded, Report, Ticket};
use crate::state::State;
use crate::time::Time;
use crate::transition::{Snapshot, Transition};

impl Breaker {
    /// Says whether the replica is alone, and decides by itself. For one of several replicas; a lone process always does.
    pub fn set_alone(&mut self, is_alone: bool) {
        self.is_alone = is_alone && self.numbering == Numbering::Store;
        if !self.is_alone {
            self.end_branch();
        }
    }

    /// Whether it stands on a branch: what it shows, and the transitions that it makes, were decided alone.
    pub fn is_on_branch(&self) -> bool {
        self.branch().is_some()
    }

    /// How a call went that was allowed on the branch of this number. One that is over is late.
    pub fn record_on_branch(
        &mut self,
        branch: u32,
        pass: Pass,
        report: &Report<'_>,
        now: Time,
    ) -> (Recorded, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        let epoch = self.epoch;
        let Some(own) = self.branch_mut() else { return (Recorded::Late, transitions) };
        if pass.epoch != epoch || number_of(own) != branch {
            return (Recorded::Late, transitions);
        }
        let ticket = Ticket::Own(Pass { epoch: own.epoch, ..pass });
        let (recorded, made) = own.record(ticket, report, now);
        transitions.extend(self.of_branch(made));
        (recorded, transitions)
    }

    pub(super) fn branch(&self) -> Option<&Self> {
        self.replicated.as_ref()?.branch.as_deref()
    }

    pub(super) fn branch_mut(&mut self) -> Option<&mut Self> {
        self.replicated.as_mut()?.branch.as_deref_mut()
    }

    /// When it goes on by itself; none: it does not.
    pub(super) fn branches_at(&self) -> Option<Time> {
        if !self.is_alone || self.branch().is_some() {
            return None;
        }
        let (state, wait, since) = match (self.hidden_behind(), &self.phase) {
            (Some((row, since)), _) => (row.state, row.wait, since),
            (None, Phase::Open(open)) => (State::Open, Some(open.wait), self.entered_at),
            (None, _) => (self.phase_state(), None, self.entered_at),
        };
        match state {
            State::Open => Some(since + wait.unwrap_or_default()),
            State::HalfOpen => Some(since),
            _ => None,
        }
    }

    /// Lets the time that passed take effect on the branch, which begins when it is due. None: there is none.
    pub(super) fn advance_branch(&mut self, now: Time) -> Option<Vec<Transition>> {
        if self.branches_at().is_some_and(|at| at <= now) {
            let own = self.begin_branch(now);
            self.replicated.get_or_insert_default().branch = Some(Box::new(own));
        }
        let made = self.branch_mut()?.advance(now);
        Some(self.of_branch(made))
    }

    fn begin_branch(&self, now: Time) -> Self {
        let (row, since) = self
            .hidden_behind()
            .map_or_else(|| (self.phase_snapshot(), self.entered_at), |(row, since)| (row.clone(), since));
        let identity = Identity {
            key_hash: self.key_hash,
            salt: self.salt,
            first_number: self.next_number + 1,
            numbering: Numbering::Own,
            stagger: std::time::Duration::ZERO,
            wall: self.wall,
        };
        let mut own = Self::new(self.thresholds.clone(), self.config_revision, identity, now);
        // Its epochs are of no use but to number its states, each once in the life of this breaker.
        own.take_over(Snapshot { epoch: self.next_number, ..row }, since, now);
        if let Phase::HalfOpen(half_open) = &own.phase {
            // Whom the store gave its probes to nobody knows: it is entered anew.
            own.phase = Phase::HalfOpenRestored(Box::new(half_open.terms()));
        }
        own
    }

    pub(super) fn end_branch(&mut self) {
        if let Some(own) = self.replicated.as_mut().and_then(|replicated| replicated.branch.take()) {
            self.next_number = self.next_number.max(own.next_number).max(own.epoch) + 1;
        }
    }

    /// What a call is told on the branch, if there is one.
    pub(super) fn decide_on_branch(&mut self, now: Time) -> Option<Decision> {
        let epoch = self.epoch;
        let own = self.branch_mut()?;
        let decision = own.decide(None, now);
        let pass = decision.pass.map(|pass| Pass { epoch, ..pass });
        Some(Decision { epoch, pass, branch: number_of(own), ..decision })
    }

    /// An outcome without a pass, on the branch; none: there is none, or it is of another epoch.
    pub(super) fn own_ticket(&self, ticket: Ticket) -> Option<Ticket> {
        let Ticket::Bare { epoch } = ticket else { return None };
        let is_present = epoch.is_none_or(|epoch| epoch == self.epoch);
        (self.branch().is_some() && is_present).then_some(Ticket::Bare { epoch: None })
    }

    /// The transitions of the branch as others are told of them: each is from the epoch that the branch stands over.
    pub(super) fn of_branch(&self, transitions: Vec<Transition>) -> Vec<Transition> {
        let told = |transition: Transition| Transition {
            base_epoch: self.epoch,
            after: Snapshot { epoch: self.epoch + 1, ..transition.after },
            ..transition
        };
        transitions.into_iter().map(told).collect()
    }
}

/// The number of the present state of a branch; never 0, which is the store's own.
#[expect(
    clippy::cast_possible_truncation,
    reason = "two of one breaker do not differ by four thousand million"
)]
fn number_of(own: &Breaker) -> u32 {
    (own.epoch as u32).max(1)
}

//! One of several replicas: what it proposes to the store and what the store answers.
//!
//! The store numbers the epochs, and its row of the breaker is what stands. A change that was made here stands over it as a
//! proposal, until it is answered by its id: a trip denies at once, and what lets calls through again waits. Probes are the
//! store's: they are claimed of it, wait here for a call, and their outcomes go to it, which decides.
//!
//! Rows come with answers and with the tail of the store's changes, in any order, and late: each says which version it is,
//! and one that is not newer than what was taken says nothing.

use std::sync::Arc;
use std::time::Duration;

use super::phase::Phase;
use super::stored_row::{Proposal, ProposalAnswer, ProposalId, RowVersion, StoredRow};
use super::{ActiveOverride, Breaker, Numbering};
use crate::state::{Reason, Scope, State};
use crate::time::Time;
use crate::transition::{Snapshot, Stats, Transition};

impl Breaker {
    /// The proposal under way.
    pub(super) fn proposal(&self) -> Option<&Proposal> {
        self.replicated.as_ref()?.proposal.as_ref()
    }

    /// The proposal under way: the state of the row that it was made on.
    pub(super) fn proposed(&self) -> Option<State> {
        Some(self.proposal()?.base.0.state)
    }

    /// The row that is shown in place of a change under way, and since when it is so: the store may not agree that the time has
    /// come, and nobody may be told of calls that pass before it has. Only what denies more is shown before it is answered.
    pub(super) fn hidden_behind(&self) -> Option<(&Snapshot, Time)> {
        let Proposal { base: (row, since), is_timed, .. } = self.proposal()?;
        let denies = matches!(self.phase_state(), State::Open | State::ForcedOpen);
        (*is_timed || !denies).then_some((row, *since))
    }

    /// The state of the row, as far as is known here.
    pub(super) fn row_state(&self) -> State {
        self.proposed().unwrap_or_else(|| self.phase_state())
    }

    fn proposal_mut(&mut self) -> Option<&mut Proposal> {
        self.replicated.as_mut()?.proposal.as_mut()
    }

    /// The proposal under way, if it is this one; it is none any more.
    fn take_proposal(&mut self, id: ProposalId) -> Option<Proposal> {
        self.replicated.as_mut()?.proposal.take_if(|proposal| proposal.id == Some(id))
    }

    /// The state is about to be left by a change that the store has yet to answer.
    pub(super) fn propose(&mut self, reason: Reason) {
        let is_timed = matches!(
            reason,
            Reason::WaitElapsed | Reason::OverrideExpired | Reason::HalfOpenTimeout | Reason::Idle
        );
        let present = self.replicated.as_mut().and_then(|replicated| replicated.proposal.take());
        let proposal = present.unwrap_or_else(|| Proposal {
            id: None,
            base: (self.phase_snapshot(), self.entered_at),
            probes: None,
            is_timed,
            is_held: false,
            is_answered: false,
        });
        let proposal = Proposal { id: None, is_timed, is_held: false, is_answered: false, ..proposal };
        let replicated = self.replicated.get_or_insert_default();
        replicated.proposal = Some(proposal);
        // The store may say that it is too early.
        replicated.overtaken_trip.take_if(|_| !is_timed);
    }

    /// A half-open was left by a change that the store has yet to answer. If that has lost, the half-open goes on, with the
    /// probes that this replica has of it.
    pub(super) fn keep_probes(&mut self, left: Phase) {
        if let Phase::HalfOpen(half_open) = left
            && let Some(Proposal { base: (base, _), probes: probes @ None, .. }) = self.proposal_mut()
            && base.state == State::HalfOpen
        {
            *probes = Some(half_open);
        }
    }

    /// Takes over the row after a proposal that was made on `base`, and goes on with the probes of its half-open, if the row is
    /// in that still. A trip that the row overtook is remembered, if it is that row still.
    pub(super) fn go_back(&mut self, row: Snapshot, proposal: Proposal, entered_at: Time, now: Time) {
        let overtaken_trip = self.replicated.as_ref().and_then(|replicated| replicated.overtaken_trip);
        self.take_over(row, entered_at, now);
        self.remember_overtaken(overtaken_trip.filter(|_| self.epoch == proposal.base.0.epoch));
        if let (Phase::HalfOpen(present), Some(probes)) = (&mut self.phase, proposal.probes)
            && self.epoch == proposal.base.0.epoch
        {
            *present = probes;
            present.ends_later(now);
        }
    }

    pub(super) fn drop_proposal(&mut self) {
        if let Some(replicated) = &mut self.replicated {
            (replicated.proposal, replicated.overtaken_trip) = (None, None);
        }
    }

    /// The change that was made last is on its way to the store, and will be answered by this id. What was decided on a branch
    /// changes nothing of the proposal under way.
    pub fn proposed_as(&mut self, id: ProposalId) {
        if let Some(proposal) = self.proposal_mut() {
            proposal.id.get_or_insert(id);
        }
    }

    /// Whether a change is on its way to the store that stands here already.
    pub fn is_unconfirmed(&self) -> bool {
        self.proposed().is_some()
    }

    /// Whether it is FORCED_OPEN by an operator, and the store has not answered that yet. It is, until then, whatever the row
    /// holds: the row may be of an operator who had not heard of the emergency.
    pub fn holds_forced_open(&self) -> bool {
        self.awaits_answer() && self.phase_state() == State::ForcedOpen
    }

    fn awaits_answer(&self) -> bool {
        self.proposal().is_some_and(|proposal| !proposal.is_answered)
    }

    /// Whether a proposal under way stands over a row with another epoch: FORCED_OPEN over any, and a trip of an earlier timeline
    /// over one without an override, as the store has yet to say whether it opens that.
    fn holds_over(&self, row: &Snapshot) -> bool {
        let is_held = self.awaits_answer() && self.proposal().is_some_and(|proposal| proposal.is_held);
        let is_automatic = matches!(row.state, State::Closed | State::Open | State::HalfOpen);
        self.holds_forced_open() || (is_automatic && is_held)
    }

    /// Which row was taken last.
    pub fn taken(&self) -> RowVersion {
        self.replicated.as_ref().and_then(|replicated| replicated.taken).unwrap_or_default()
    }

    /// The timeline of the store that it is in; none: no row was taken yet.
    pub fn timeline(&self) -> Option<u32> {
        Some(self.replicated.as_ref()?.taken?.timeline)
    }

    /// It is as the row of this version has it: a row that is not newer says nothing.
    pub fn knows_row(&mut self, version: RowVersion) {
        self.note(version);
    }

    /// It is in this timeline, if no row was taken yet that says in which.
    pub fn began_in(&mut self, timeline: u32) {
        let replicated = self.replicated.get_or_insert_default();
        replicated.taken.get_or_insert(RowVersion { timeline, revision: 0 });
    }

    /// Takes over the row of a timeline that the store began because it went back: nothing counted, no stock of probes, and no
    /// proposal under way but FORCED_OPEN, and a trip, which hold until they are answered; so does a trip that another replica's OPEN
    /// overtook. Answers the transition that takes up the state of before, if that had a higher epoch, and how long it had lasted: a
    /// half-open as OPEN, as its probes are of before. An override of the whole service is not taken up: the configuration says
    /// whether there is one.
    ///
    /// A row that is not of a later timeline is taken as [`Breaker::adopt`] takes it: an answer may have told of the timeline before.
    pub fn adopt_timeline(&mut self, row: &StoredRow, now: Time) -> Option<(Transition, Duration)> {
        if self.timeline().is_some_and(|timeline| row.version.timeline <= timeline) {
            self.adopt(row, now);
            return None;
        }
        let now = self.clock(now);
        let is_known = self.timeline().is_some();
        let (before, entered_at) = self
            .proposal()
            .map_or_else(|| (self.phase_snapshot(), self.entered_at), |proposal| proposal.base.clone());
        let half_open_wait = self.wait(None);
        self.end_branch();
        self.note(row.version);
        let row_entered_at = now - row.age;
        self.hold_trip(now);
        if self.holds_over(&row.snapshot) {
            if let Some(proposal) = self.proposal_mut() {
                proposal.base = (row.snapshot.clone(), row_entered_at.min(now));
                proposal.probes = None;
            }
            self.epoch = row.snapshot.epoch;
        } else {
            self.take_over(row.snapshot.clone(), row_entered_at, now);
        }
        // What began the timeline let a half-open enter half-open again, which made an epoch of its own.
        let row_epoch = row.snapshot.epoch.saturating_sub(u64::from(row.snapshot.state == State::HalfOpen));
        let is_of_service = before.set_by.as_ref().is_some_and(|set_by| set_by.scope == Scope::Service);
        if !is_known || before.epoch <= row_epoch || is_of_service {
            return None;
        }
        let (after, age) = if before.state == State::HalfOpen {
            let wait = Some(half_open_wait);
            let entered_at = self.wall.to_wall(now);
            let open = Snapshot { state: State::Open, wait, half_open: None, entered_at, ..before.clone() };
            (open, Duration::ZERO)
        } else {
            (before.clone(), now.since(entered_at))
        };
        let transition = Transition {
            from: row.snapshot.state,
            reason: Reason::Restart,
            stats: Stats::default(),
            base_epoch: before.epoch - 1,
            at: self.wall.to_wall(now),
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after,
            shadow: false,
        };
        Some((transition, age))
    }

    /// The store answered a proposal, with the row as it is now. Only the newest proposal stands here, so that the answer
    /// to an earlier one says which row there is, and nothing else.
    pub fn answered(&mut self, id: ProposalId, answer: ProposalAnswer, row: &StoredRow, now: Time) {
        let now = self.clock(now);
        self.end_branch();
        self.settle_overtaken(id);
        let Some(proposal) = self.take_proposal(id) else {
            self.adopt(row, now);
            return;
        };
        if row.version < self.taken() {
            let (base, entered_at) = proposal.base.clone();
            self.go_back(base, proposal, entered_at, now);
            return;
        }
        self.note(row.version);
        let confirms = answer == ProposalAnswer::Won
            && row.snapshot.epoch == self.epoch + 1
            && row.snapshot.state == self.phase_state();
        if answer == ProposalAnswer::Lost {
            self.forget_refused_service(&row.snapshot);
        }
        self.forget_ended_service(&proposal.base.0, &row.snapshot);
        if confirms {
            self.epoch = row.snapshot.epoch;
            self.retime(&row.snapshot, now - row.age, now);
            self.remember_overtaken(None);
        } else {
            self.go_back(row.snapshot.clone(), proposal, now - row.age, now);
        }
    }

    /// The store answered a proposal in a timeline that this breaker is not in yet. The row that it is taken over by there says what
    /// became of it, and nobody answers it again.
    pub fn answered_in_later_timeline(&mut self, id: ProposalId) {
        self.settle_overtaken(id);
        if let Some(proposal) = self.proposal_mut()
            && proposal.id == Some(id)
        {
            proposal.is_answered = true;
        }
    }

    /// No store will ever take this proposal: the row that it was made on stands again, as far as is known.
    pub fn proposal_dropped(&mut self, id: ProposalId, now: Time) {
        let now = self.clock(now);
        self.settle_overtaken(id);
        if let Some(proposal) = self.take_proposal(id) {
            let (base, entered_at) = proposal.base.clone();
            self.go_back(base, proposal, entered_at, now);
        }
    }

    /// Takes over the state that the store holds, if the row is newer than the one that was taken last.
    ///
    /// Another epoch, or another state under its number (the store went back), starts with nothing counted,
    /// and drops a proposal under way, but for FORCED_OPEN ([`Breaker::holds_forced_open`]) and a trip of an earlier timeline. Of a trip
    /// that another replica's OPEN overtakes it remembers that it is not answered, as it holds should the store go back. The very row
    /// that a proposal was made on says nothing about it yet. The state that it is in already only sets the wait: the store's clock is the clock.
    pub fn adopt(&mut self, row: &StoredRow, now: Time) {
        let now = self.clock(now);
        // That there is no row any more is said in the version of the newest change, which may be that of the row that went.
        let is_gone = row.snapshot.epoch == 0 && row.snapshot.state == State::Closed;
        let is_newer = row.version > self.taken() || (is_gone && row.version == self.taken());
        if !is_newer {
            return;
        }
        self.end_branch();
        self.note(row.version);
        self.take_if_other(&row.snapshot, now - row.age, now);
    }

    /// Takes over a state that is kept elsewhere, as it is: who keeps it sees to it that it is not an old one.
    ///
    /// Otherwise as [`Breaker::adopt`]; times are those of the wall clock.
    pub fn follow(&mut self, state: &Snapshot, now: Time) {
        let now = self.clock(now);
        self.take_if_other(state, self.wall.to_monotonic(state.entered_at), now);
    }

    fn take_if_other(&mut self, state: &Snapshot, entered_at: Time, now: Time) {
        let is_other = state.epoch != self.epoch || state.state != self.row_state();
        if is_other {
            let left = self.proposal_mut().map(|proposal| proposal.base.0.clone());
            self.forget_ended_service(&left.unwrap_or_else(|| self.phase_snapshot()), state);
        }
        if is_other && !self.holds_over(state) {
            let trip = self.unanswered_trip();
            self.take_over(state.clone(), entered_at, now);
            self.remember_overtaken(trip);
        } else if let Some(proposal) = self.proposal_mut() {
            proposal.base = (state.clone(), entered_at.min(now));
            // The half-open that they are of is over.
            proposal.probes.take_if(|_| is_other);
            self.epoch = state.epoch;
        } else {
            self.retime(state, entered_at, now);
        }
    }

    /// The store refused the override of the service on the very row that it was proposed for: the service has another one by
    /// now, or none. It is not proposed again before this breaker is told what there is.
    fn forget_refused_service(&mut self, row: &Snapshot) {
        let is_part = self.override_in_force().is_some_and(|active| active.set_by.scope == Scope::Service);
        if is_part && row.epoch == self.epoch {
            self.service = None;
        }
    }

    /// The store let this breaker leave the override of its service: that has ended, or was cleared, although nobody has told
    /// this breaker yet.
    fn forget_ended_service(&mut self, left: &Snapshot, row: &Snapshot) {
        let set_by = left.set_by.as_ref().filter(|set_by| set_by.scope == Scope::Service);
        let is_known = self.service.as_ref().is_some_and(|service| Some(&service.set_by) == set_by);
        let has_left = row.set_by.is_none() && row.epoch == left.epoch + 1;
        if self.numbering == Numbering::Store && is_known && has_left {
            self.service = None;
        }
    }

    fn note(&mut self, version: RowVersion) {
        let replicated = self.replicated.get_or_insert_default();
        replicated.taken = replicated.taken.max(Some(version));
    }

    /// It is in this state already; how long it lasts is said by who keeps it.
    fn retime(&mut self, state: &Snapshot, entered_at: Time, now: Time) {
        let entered_at = entered_at.min(now);
        let active = || {
            let set_by = state.set_by.clone().filter(|_| self.numbering == Numbering::Store)?;
            Some(Arc::new(ActiveOverride::by_store(set_by, (state.entered_at, entered_at))))
        };
        match (&mut self.phase, active()) {
            (Phase::Open(open), _) => {
                let Some(wait) = state.wait else { return };
                (open.wait, open.retry_after) = (wait, state.retry_after);
            }
            (Phase::Overridden(present), Some(active)) => *present = active,
            (Phase::MetricsOnly(metrics_only), Some(active)) => metrics_only.set_by = active,
            _ => return,
        }
        self.entered_at = entered_at;
    }
}

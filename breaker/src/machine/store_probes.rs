//! Probes of the store: which ones are to be claimed of it or given back, and the outcomes over which it decides.

use super::half_open::{HalfOpen, ProbeClaim, ProbeGrant};
use super::phase::Phase;
use super::stored_row::{ProbeAnswer, ProbeReport};
use super::{Breaker, Numbering};
use crate::outcome::{Pass, Probe, Report, Ticket};
use crate::probes::ProbeOutcome;
use crate::state::State;
use crate::time::Time;
use crate::transition::CausingOutcome;
use crate::wait::wait;

impl Breaker {
    /// The half-open of the row: the present one, or that which a change is about to leave that the store has yet to answer.
    pub(super) fn half_open_of_row(&self) -> Option<&HalfOpen> {
        match (self.proposal(), &self.phase) {
            (Some(proposal), _) => proposal.probes.as_deref(),
            (None, Phase::HalfOpen(half_open)) => Some(half_open),
            (None, _) => None,
        }
    }

    /// As [`Self::half_open_of_row`].
    pub(super) fn half_open_of_row_mut(&mut self) -> Option<&mut HalfOpen> {
        match (self.replicated.as_mut().and_then(|it| it.proposal.as_mut()), &mut self.phase) {
            (Some(proposal), _) => proposal.probes.as_deref_mut(),
            (None, Phase::HalfOpen(half_open)) => Some(half_open),
            (None, _) => None,
        }
    }

    /// Whether something is to be asked of the store that was not asked yet: [`Breaker::probe_claim`] or
    /// [`Breaker::returned_nonces`] say what. For a half-open that is being left nothing is claimed.
    pub fn has_requests(&self) -> bool {
        let is_left = self.proposal().is_some();
        self.half_open_of_row().is_some_and(|half_open| {
            if is_left { half_open.has_returned() } else { half_open.has_requests() }
        })
    }

    /// The probes that are to be claimed of the store, now that calls want them; a claim that was not answered is given
    /// again. For one who sends it, and tells what came of it with [`Breaker::granted`], before it asks for this again.
    ///
    /// A claim for a half-open that is being left is given up if it was not answered: what slots it may have go back, and it is made
    /// anew if the half-open goes on.
    pub fn probe_claim(&mut self, now: Time) -> Option<ProbeClaim> {
        let now = self.clock(now);
        if self.proposal().is_some() {
            if let Some(half_open) = self.half_open_of_row_mut() {
                half_open.give_up_claim();
            }
            return None;
        }
        let seed = self.salt ^ self.next_number;
        let epoch = self.epoch;
        let Phase::HalfOpen(half_open) = &mut self.phase else { return None };
        let claim = half_open.claim(epoch, seed, now)?.clone();
        self.next_number += 1;
        Some(claim)
    }

    /// The answer to a claim: what it gave waits here for calls.
    pub fn granted(&mut self, grant: &ProbeGrant, now: Time) {
        let now = self.clock(now);
        if grant.epoch != self.epoch {
            return;
        }
        if let Some(half_open) = self.half_open_of_row_mut() {
            half_open.granted(grant, now);
        }
    }

    /// Nonces of the present epoch under which the store gave, or may have given, probes that no call took in time: they are to
    /// be given back, once. Those of a half-open that is being left as well.
    pub fn returned_nonces(&mut self, now: Time) -> Vec<u64> {
        let now = self.clock(now);
        self.half_open_of_row_mut().map_or_else(Vec::new, |half_open| half_open.take_returned(now))
    }

    /// As no call will come any more: the probes that wait for one, and those that a claim may get that was not answered, are to
    /// be given back. A change under way may yet lose, and the half-open that it is about to leave goes on at other replicas.
    pub fn return_stock(&mut self) {
        if let Some(half_open) = self.half_open_of_row_mut() {
            half_open.return_stock();
        }
    }

    /// How many slots the half-open of the row has, or the next one would have.
    pub fn half_open_slots(&self) -> u32 {
        self.half_open_of_row()
            .map_or_else(|| self.thresholds.permitted(), |half_open| half_open.terms().permitted)
    }

    /// The outcome of a probe over which the store decides; none: it is no such one, or of an epoch that is over, and
    /// [`Breaker::record`] says what becomes of it. One of an epoch that is not known here yet is the store's too: another
    /// replica gave the probe.
    pub fn probe_report(&mut self, ticket: Ticket, report: &Report<'_>, now: Time) -> Option<ProbeReport> {
        self.clock(now);
        let pass = ticket.pass()?;
        let epoch = pass.epoch;
        if epoch < self.epoch || (epoch == self.epoch && self.row_state() != State::HalfOpen) {
            return None;
        }
        let rejected_calls = if epoch == self.epoch { self.rejected_calls } else { 0 };
        self.report_probe(pass, report, (self.open_count.saturating_add(1), rejected_calls))
    }

    /// As [`Breaker::probe_report`], of a probe that another replica gave in a later timeline than the one that this breaker is in:
    /// the epochs of the one say nothing of those of the other, and whether the probe's is over only the store knows. If it opens the
    /// breaker, it does so for the wait of a first time, as how often it opened in that timeline is not known here.
    pub fn probe_report_of_later_timeline(
        &mut self,
        ticket: Ticket,
        report: &Report<'_>,
        now: Time,
    ) -> Option<ProbeReport> {
        self.clock(now);
        self.report_probe(ticket.pass()?, report, (1, 0))
    }

    fn report_probe(
        &self,
        Pass { epoch, probe, .. }: Pass,
        report: &Report<'_>,
        (open_count, rejected_calls): (u32, u64),
    ) -> Option<ProbeReport> {
        let probe = probe?;
        if self.numbering != Numbering::Store {
            return None;
        }
        let outcome = ProbeOutcome::of(self.thresholds.judge(report));
        let retry_after = report
            .honored_retry_after(outcome.is_some_and(|outcome| outcome.failed))
            .filter(|_| self.thresholds.honor_retry_after());
        Some(ProbeReport {
            epoch,
            probe,
            outcome,
            causing: CausingOutcome::of(report),
            wait: wait(&self.thresholds, self.key_hash, epoch + 1, open_count, retry_after),
            retry_after,
            config_revision: self.config_revision,
            rejected_calls,
        })
    }

    /// The store took the outcome of a probe.
    pub fn probe_settled(&mut self, epoch: u64, probe: Probe, answer: &ProbeAnswer, now: Time) {
        let now = self.clock(now);
        if epoch == self.epoch
            && let Some(half_open) = self.half_open_of_row_mut()
        {
            half_open.settled(probe, answer.counts);
        }
        self.adopt(&answer.row, now);
    }
}

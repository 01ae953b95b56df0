//! Outcomes of calls. Those of probes go to the store, which says what becomes of them.

use std::time::Duration;

use breaker::{ProbeAnswer, Recorded, Report, State, Time};
use tokio::sync::oneshot;

use super::Replica;
use crate::engine::{Creator, EngineError, RecordResult, Target};

/// How long an outcome waits for the row of its epoch, at the most: as long as a change takes to all replicas.
const ROW_WAITS: Duration = Duration::from_millis(250);
/// How long outcomes of probes wait for the store's word, all that come together and at the most; then they are taken in, and may
/// yet prove late.
const OUTCOMES_WAIT: Duration = Duration::from_secs(1);

/// What became of an outcome so far.
#[derive(Debug)]
pub enum Submitted {
    /// It is recorded, or is not.
    Done(RecordResult),
    /// It is on its way to the store, which decides.
    Waiting(WaitingOutcome),
}

/// The outcome of a probe, of which the store has not said what becomes.
#[derive(Debug)]
pub struct WaitingOutcome {
    answer: oneshot::Receiver<ProbeAnswer>,
    epoch: u64,
}

impl WaitingOutcome {
    /// What is answered if the store says nothing in time: it is taken in.
    pub fn taken_in(&self) -> RecordResult {
        let (recorded, state) = (Recorded::Recorded, State::HalfOpen);
        RecordResult { recorded, state, epoch: self.epoch, remaining: None }
    }
}

impl Replica {
    /// Until when outcomes that come together wait, from now on: a second, or half of what their caller waits, if that is less.
    pub fn outcomes_wait_until(&self, timeout: Option<Duration>) -> Time {
        let most = timeout.map_or(OUTCOMES_WAIT, |timeout| OUTCOMES_WAIT.min(timeout / 2));
        self.clock.now() + most
    }

    /// Records the outcome of a call. Waits only where it is a probe of which the store has to say what becomes, and until then at
    /// most ([`Replica::outcomes_wait_until`]): then it is recorded as far as the caller is concerned, and goes to the store for as
    /// long as it takes.
    ///
    /// # Errors
    /// As [`crate::engine::Engine::record_for`], and [`EngineError::TooManyOutcomes`].
    pub async fn record(
        &self,
        creator: Creator<'_>,
        target: Target<'_>,
        report: &Report<'_>,
        wait_until: Time,
    ) -> Result<RecordResult, EngineError> {
        match self.submit(creator, target, report, wait_until).await? {
            Submitted::Done(result) => Ok(result),
            Submitted::Waiting(outcome) => Ok(self.answered(outcome, wait_until).await),
        }
    }

    /// As [`Replica::record`], and does not wait for the store's word: for outcomes that wait together.
    ///
    /// # Errors
    /// As [`Replica::record`].
    pub async fn submit(
        &self,
        creator: Creator<'_>,
        target: Target<'_>,
        report: &Report<'_>,
        wait_until: Time,
    ) -> Result<Submitted, EngineError> {
        let now = self.clock.now();
        let Some(coordinator) = &self.coordinator else {
            return self.engine.record_for(creator, target, report, now).map(Submitted::Done);
        };
        self.wait_for_row(&target, wait_until.min(now + ROW_WAITS)).await;
        let now = self.clock.now();
        let Some(reported) = self.engine.probe_report(&target, report, now)? else {
            return self.engine.record_for(creator, target, report, now).map(Submitted::Done);
        };
        let epoch = reported.report.epoch;
        let answer = coordinator.report(reported, report.duration).ok_or(EngineError::TooManyOutcomes)?;
        Ok(Submitted::Waiting(WaitingOutcome { answer, epoch }))
    }

    /// Waits for the store's word on an outcome, until then at most, and not while the store does not answer.
    pub async fn answered(&self, outcome: WaitingOutcome, wait_until: Time) -> RecordResult {
        let taken_in = outcome.taken_in();
        let is_failing = self.coordinator.as_ref().is_none_or(|coordinator| coordinator.is_failing());
        let wait_until = if is_failing { self.clock.now() } else { wait_until };
        let answer = tokio::select! {
            biased;
            // An error: nobody asks the store any more.
            answer = outcome.answer => answer.ok(),
            () = self.clock.sleep_until(wait_until) => None,
        };
        let Some(ProbeAnswer { settled, row, .. }) = answer else { return taken_in };
        let remaining = row.snapshot.wait.map(|wait| wait.saturating_sub(row.age));
        let (state, epoch) = (row.snapshot.state, row.snapshot.epoch);
        RecordResult { recorded: settled.into(), state, epoch, remaining }
    }

    /// Another replica closed the breaker and gave the permit, and this one has not heard of it yet: it reads what changed,
    /// and the outcome waits for that, not long.
    async fn wait_for_row(&self, target: &Target<'_>, gives_up_at: Time) {
        let Some(permit) = target.permit else { return };
        loop {
            let answered = self.engine.answered_of(permit.key);
            let is_failing = self.coordinator.as_ref().is_none_or(|coordinator| coordinator.is_failing());
            if is_failing || !self.engine.is_behind(&permit) || self.clock.now() >= gives_up_at {
                return;
            }
            self.tail_hint.notify_one();
            tokio::select! {
                biased;
                () = answered => {}
                () = self.clock.sleep_until(gives_up_at) => {}
            }
        }
    }
}

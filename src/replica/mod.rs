//! One of several replicas: what they agree on over the store that they share, and how a call waits for it.
//!
//! Decisions come from memory, except where calls are let through again. A breaker that needs the store's word says so
//! in its decision, and asks ([`Engine::take_requests`]); the [`Coordinator`] carries what it asks to the store, and the
//! answer back into the breaker, where the call that waits looks again. Proposals go the way of the journal, whose writer
//! brings their answers here ([`Answers`]); the [`Tail`] brings what other replicas changed. What breakers count while they fail is
//! told to each other ([`CountSharing`]).
//!
//! A lone process has none of it: its breakers answer themselves, by the same rules.

mod acts;
mod answers;
mod batch_size;
mod calls;
mod coordinator;
mod counts;
mod outcomes;
mod presence;
mod read_position;
mod replication;
mod returns;
mod tail;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use breaker::{ProbeAnswer, Recorded, Report, State, Time};
use breakerd_common::clock::Clock;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub use self::acts::{ActDone, ActError};
pub use self::answers::Answers;
pub use self::calls::{Calls, WaitingCall};
pub use self::coordinator::Coordinator;
pub use self::counts::CountSharing;
pub use self::presence::{Presence, PresenceMetrics, live_replica};
pub use self::read_position::ReadPosition;
pub use self::replication::Replication;
pub use self::tail::Tail;
use crate::engine::{Allowed, Creator, Engine, EngineError, RecordResult, Target};

/// How long an outcome waits for the row of its epoch, at the most: as long as a change takes to all replicas.
const ROW_WAITS: Duration = Duration::from_millis(250);
/// How long the outcome of a probe waits for the store's word, at the most; then it is taken in, and may yet prove late.
const OUTCOME_WAITS: Duration = Duration::from_secs(1);

/// What calls are decided with.
#[derive(Clone)]
pub struct Replica {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    /// None: this process is alone.
    coordinator: Option<Arc<Coordinator>>,
    /// Told that the tail has something to read.
    tail_hint: Arc<Notify>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}

impl Replica {
    /// A process that has its store for itself.
    pub fn lone(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, coordinator: None, tail_hint: Arc::default() }
    }

    /// One of several on a store. `tail_hint` wakes its [`Tail`].
    pub fn of_several(
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        coordinator: Arc<Coordinator>,
        tail_hint: Arc<Notify>,
    ) -> Self {
        Self { engine, clock, coordinator: Some(coordinator), tail_hint }
    }

    /// Decides whether a call is allowed. Waits only where the store has to let it through, 50 ms at most, and not while the store
    /// does not answer; a call that is dropped meanwhile leaves nothing behind.
    ///
    /// # Errors
    /// As [`Engine::allow_for`].
    pub async fn allow(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        mut now: Time,
    ) -> Result<Allowed, EngineError> {
        let mut calls = self.calls(creator);
        let mut call = WaitingCall::new(0);
        loop {
            if let Some(allowed) = calls.look(call, service, name, now)? {
                calls.told();
                return Ok(allowed);
            }
            call = calls.answered().await.pop().unwrap_or(call);
            now = self.clock.now();
        }
    }

    /// Calls of one caller that are decided together, and wait together where they wait.
    pub fn calls<'a>(&'a self, creator: Creator<'a>) -> Calls<'a> {
        Calls::new(&self.engine, &*self.clock, self.coordinator.as_deref(), creator)
    }

    /// Records the outcome of a call. Waits only where it is a probe of which the store has to say what becomes, and a second
    /// at most: then it is recorded as far as the caller is concerned, and goes to the store for as long as it takes.
    ///
    /// # Errors
    /// As [`Engine::record_for`], and [`EngineError::TooManyOutcomes`].
    pub async fn record(
        &self,
        creator: Creator<'_>,
        target: Target<'_>,
        report: &Report<'_>,
        now: Time,
    ) -> Result<RecordResult, EngineError> {
        let Some(coordinator) = &self.coordinator else {
            return self.engine.record_for(creator, target, report, now);
        };
        self.wait_for_row(&target, now).await;
        let now = self.clock.now();
        let Some(reported) = self.engine.probe_report(&target, report, now)? else {
            return self.engine.record_for(creator, target, report, now);
        };
        let epoch = reported.report.epoch;
        let answer = coordinator.report(reported, report.duration).ok_or(EngineError::TooManyOutcomes)?;
        // While the store does not answer, nobody waits for it.
        let waits = if coordinator.is_failing() { Duration::ZERO } else { OUTCOME_WAITS };
        let answer = tokio::select! {
            biased;
            // An error: nobody asks the store any more.
            answer = answer => answer.ok(),
            () = self.clock.sleep_until(now + waits) => None,
        };
        let Some(ProbeAnswer { settled, row, .. }) = answer else {
            let (recorded, state) = (Recorded::Recorded, State::HalfOpen);
            return Ok(RecordResult { recorded, state, epoch, remaining: None });
        };
        let remaining = row.snapshot.wait.map(|wait| wait.saturating_sub(row.age));
        let (state, epoch) = (row.snapshot.state, row.snapshot.epoch);
        Ok(RecordResult { recorded: settled.into(), state, epoch, remaining })
    }

    /// Another replica closed the breaker and gave the permit, and this one has not heard of it yet: it reads what changed,
    /// and the outcome waits for that, not long.
    async fn wait_for_row(&self, target: &Target<'_>, now: Time) {
        let Some(permit) = target.permit else { return };
        let gives_up_at = now + ROW_WAITS;
        loop {
            let answered = self.engine.answered_of(permit.key);
            let is_failing = self.coordinator.as_ref().is_none_or(|coordinator| coordinator.is_failing());
            if is_failing || !self.engine.is_behind(&permit) || self.clock.now() >= gives_up_at {
                return;
            }
            self.tail_hint.notify_one();
            self.wait_for(answered, gives_up_at).await;
        }
    }

    async fn wait_for(&self, answered: Notified<'_>, gives_up_at: Time) {
        tokio::select! {
            biased;
            () = answered => {}
            () = self.clock.sleep_until(gives_up_at) => {}
        }
    }
}

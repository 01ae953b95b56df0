//! One of several replicas: what they agree on over the store that they share, and how a call waits for it.
//!
//! Decisions come from memory, except where calls are let through again. A breaker that needs the store's word says so
//! in its decision, and asks ([`Engine::take_requests`]); the [`Coordinator`] carries what it asks to the store, and the
//! answer back into the breaker, where the call that waits looks again. Proposals go the way of the journal, whose writer
//! brings their answers here ([`Answers`]); the [`Tail`] brings what other replicas changed.
//!
//! A lone process has none of it: its breakers answer themselves, by the same rules.

mod answers;
mod coordinator;
mod tail;

#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::time::Duration;

use breaker::{Recorded, Report, State, Time};
use breakerd_common::clock::Clock;

pub use self::answers::Answers;
pub use self::coordinator::Coordinator;
pub use self::tail::Tail;
use crate::engine::{Allowed, Creator, Engine, EngineError, RecordResult, Target};

/// How long a call waits for the store in half-open, at the most; then it is denied.
const CALL_WAITS: Duration = Duration::from_millis(50);
/// How long the outcome of a probe waits for the store's word, at the most; then it is taken in, and may yet prove late.
const OUTCOME_WAITS: Duration = Duration::from_secs(1);

/// What calls are decided with.
#[derive(Clone)]
pub struct Replica {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    /// None: this process is alone.
    coordinator: Option<Arc<Coordinator>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}

impl Replica {
    /// A process that has its store for itself.
    pub fn lone(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, coordinator: None }
    }

    /// One of several on a store.
    pub fn of_several(engine: Arc<Engine>, clock: Arc<dyn Clock>, coordinator: Arc<Coordinator>) -> Self {
        Self { engine, clock, coordinator: Some(coordinator) }
    }

    /// Decides whether a call is allowed. Waits only where the store has to let it through, and 50 ms at most; a call that is
    /// dropped meanwhile leaves nothing behind.
    ///
    /// # Errors
    /// As [`Engine::allow_for`].
    pub async fn allow(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        now: Time,
    ) -> Result<Allowed, EngineError> {
        if self.coordinator.is_none() {
            return self.engine.allow_for(creator, service, name, now);
        }
        let gives_up_at = now + CALL_WAITS;
        let mut now = now;
        while now < gives_up_at {
            let answered = self.engine.answered(service, name);
            let allowed = self.engine.try_allow_for(creator, service, name, now)?;
            if !allowed.decision.waits {
                return Ok(allowed);
            }
            tokio::select! {
            biased;
                            () = answered => {}
                            () = self.clock.sleep_until(gives_up_at) => {}
                        }
            now = self.clock.now();
        }
        self.engine.allow_for(creator, service, name, now)
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
        let Some((key, probe_report)) = self.engine.probe_report(&target, report, now) else {
            return self.engine.record_for(creator, target, report, now);
        };
        let epoch = probe_report.epoch;
        let answer =
            coordinator.report(key, probe_report, report.duration).ok_or(EngineError::TooManyOutcomes)?;
        tokio::select! {
        biased;
                    Ok(answer) = answer => {
                        let row = &answer.row;
                        Ok(RecordResult {
                            recorded: answer.settled.into(),
                            state: row.snapshot.state,
                            epoch: row.snapshot.epoch,
                            remaining: row.snapshot.wait.map(|wait| wait.saturating_sub(row.age)),
                        })
                    }
                    () = self.clock.sleep_until(now + OUTCOME_WAITS) => {
                        Ok(RecordResult { recorded: Recorded::Recorded, state: State::HalfOpen, epoch, remaining: None })
                    }
                }
    }
}

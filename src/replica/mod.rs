//! What several replicas agree on.
//!
//! Decisions come from memory, except where calls are let through again: a probe is claimed before the call is
//! answered, and its outcome settled before it is recorded. Between the engine and the store that replicas
//! share is a [`Coordinator`]. With one process there are no others to agree with, and [`Local`] agrees at
//! once; the protocol for several replicas on one Postgres will implement the same trait.

use std::time::Duration;

use async_trait::async_trait;
use breaker::{Decision, Numbering, Recorded, Report, State, Time, Verdict};

use crate::engine::{Allowed, Creator, Engine, EngineError, Permit, RecordResult, Target};

/// The retry delay of a caller whose claim was rejected: a probe slot may become free at any time.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Agreement on what lets calls through again.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// Who numbers epochs under this coordinator.
    fn numbering(&self) -> Numbering;

    /// May this replica hold the probe that its machine gave?
    async fn claim(&self, permit: &Permit) -> Claim;

    /// Whether the probe still holds its slot, now that its outcome is known.
    async fn settle(&self, permit: &Permit) -> Claim;

    /// The probe is given back unused.
    async fn release(&self, permit: &Permit);
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is granted.
    Given,
    /// Another replica holds the slot.
    Refused,
}

/// The coordinator of a single process: it always agrees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

#[async_trait]
impl Coordinator for Local {
    fn numbering(&self) -> Numbering {
        Numbering::Own
    }

    async fn claim(&self, _permit: &Permit) -> Claim {
        Claim::Given
    }

    async fn settle(&self, _permit: &Permit) -> Claim {
        Claim::Given
    }

    async fn release(&self, _permit: &Permit) {}
}

/// Decides whether a call is allowed. Waits for the coordinator only if it is a probe.
///
/// # Errors
/// As [`Engine::allow_for`].
pub async fn allow(
    engine: &Engine,
    coordinator: &dyn Coordinator,
    creator: Creator<'_>,
    service: &str,
    name: &str,
    now: Time,
) -> Result<Allowed, EngineError> {
    let allowed = engine.allow_for(creator, service, name, now)?;
    let Some(permit) = probe_of(allowed.permit) else { return Ok(allowed) };
    match coordinator.claim(&permit).await {
        Claim::Given => Ok(allowed),
        Claim::Refused => {
            engine.release(&permit, now);
            let decision = Decision {
                verdict: Verdict::HalfOpenExhausted,
                pass: None,
                lease: None,
                retry_after: Some(REFUSED_RETRY_AFTER),
                ..allowed.decision
            };
            Ok(Allowed { decision, permit: None, ..allowed })
        }
    }
}

/// Records the outcome of a call. Waits for the coordinator only if it was a probe.
///
/// # Errors
/// As [`Engine::record_for`].
pub async fn record(
    engine: &Engine,
    coordinator: &dyn Coordinator,
    creator: Creator<'_>,
    target: Target<'_>,
    report: &Report<'_>,
    now: Time,
) -> Result<RecordResult, EngineError> {
    if let Some(permit) = probe_of(target.permit)
        && coordinator.settle(&permit).await == Claim::Refused
    {
        return Ok(RecordResult {
            recorded: Recorded::Late,
            state: State::HalfOpen,
            epoch: permit.pass.epoch,
            remaining: None,
        });
    }
    engine.record_for(creator, target, report, now)
}

fn probe_of(permit: Option<Permit>) -> Option<Permit> {
    permit.filter(|permit| permit.pass.probe.is_some())
}

//! Applies service-wide overrides to every breaker, at the pace of the journal.
//!
//! The store has them first: every replica applies them. Then the engine has them, so that breakers that
//! are created are in them at once, and the breakers that are there are reconciled. Each makes a transition, and a
//! service may have more breakers than the journal has room for; so this is paced ([`crate::pacer`]): while the store is
//! unavailable and the journal half full it waits, and goes on when the store is back.

use std::sync::Arc;

use breaker::Attribution;
use breakerd_common::clock::Clock;

use crate::engine::{Engine, Reached, Walk};
use crate::journal::Journal;
use crate::pacer;

/// The actor of changes that the reconciler makes after a crash.
pub const RECONCILER_ACTOR: &str = "breakerd";

/// Applies the present override of a service to its breakers, and returns the result; `by` clears it, if
/// it has none.
///
/// What is left undone when this is dropped is done by the next run, at the latest at the next start: a task that
/// is not dropped is to run it.
pub async fn apply_service_override(
    engine: &Arc<Engine>,
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    service: &str,
    by: Attribution,
) -> Reached {
    let walk = engine.walk(Some(service), by);
    finish(engine, journal, clock, walk).await
}

/// Reconciles what a crash left between the store and the breakers: the engine has the store's overrides, and
/// has every stored breaker. Returns how many breakers changed their state.
pub async fn reconcile_overrides(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>) -> usize {
    finish(engine, journal, clock, engine.walk(None, reconciler_attribution())).await.changed
}

/// The attribution of an override that the reconciler clears, because another request cleared the service's meanwhile.
pub fn reconciler_attribution() -> Attribution {
    let reason = "the service's override was cleared meanwhile".to_owned();
    Attribution { actor: RECONCILER_ACTOR.to_owned(), reason }
}

async fn finish(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>, walk: Walk) -> Reached {
    let (walking, time) = (Arc::clone(engine), Arc::clone(clock));
    let step = move |walk: &mut Walk, most| walking.walk_on(walk, most, time.now());
    match pacer::run(journal, clock, walk, step).await {
        Ok(walked) => walked.reached().clone(),
        Err(error) => {
            tracing::error!(%error, "service-wide override only partly applied: the next start reconciles it");
            Reached::default()
        }
    }
}

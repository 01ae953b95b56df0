//! Puts the overrides of services in force on every breaker, at the pace of the journal.
//!
//! The store has them first: they are what every replica goes by. Then the engine takes note, so that breakers that
//! are born are in them at once, and the breakers that are there are walked to. Each makes a transition, and a
//! service may have more breakers than the journal has room for; so the walk is paced ([`crate::pacer`]): while the store is
//! away and the journal half full it waits, and goes on when the store is back.

use std::sync::Arc;

use breaker::Attribution;
use breakerd_common::clock::Clock;

use crate::engine::{Engine, Reached, Walk};
use crate::journal::Journal;
use crate::pacer;

/// Who takes back what a crash left on a breaker.
pub const OURSELVES: &str = "breakerd";

/// Tells the breakers of a service what override it has by now, and answers what became of them; `by` takes it back, if
/// it has none.
///
/// What is left undone when this is dropped is done by the next walk, at the latest at the next start: a task that
/// nobody drops is to run it.
pub async fn put_in_force(
    engine: &Arc<Engine>,
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    service: &str,
    by: Attribution,
) -> Reached {
    let walk = engine.walk(Some(service), by);
    finish(engine, journal, clock, walk).await
}

/// Makes good what a crash left between the store and the breakers: the engine has noted the store's overrides, and
/// has every stored breaker. Answers how many breakers changed their state.
pub async fn reconcile_overrides(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>) -> usize {
    finish(engine, journal, clock, engine.walk(None, meanwhile())).await.changed
}

/// Who takes back what a walk finds that was not sent to take anything back.
pub fn meanwhile() -> Attribution {
    let reason = "the service's override was taken back meanwhile".to_owned();
    Attribution { actor: OURSELVES.to_owned(), reason }
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

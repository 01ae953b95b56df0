//! Puts the overrides of services in force on every breaker, at the pace of the journal.
//!
//! The store has them first: they are what every replica goes by. Then the engine takes note, so that breakers that
//! are born are in them at once, and the breakers that are there are walked to. Each makes a transition, and a
//! service may have more breakers than the journal has places; so the walk goes on only while the journal is at most
//! half full. While the store is away the walk waits, and goes on when it is back.

use std::sync::Arc;

use breaker::Asked;

use crate::engine::{Clock, Engine, Walk};
use crate::journal::Journal;

/// Breakers that change in one go; some milliseconds.
const CHUNK: usize = 1_000;
/// Who takes back what a crash left on a breaker.
pub const OURSELVES: &str = "breakerd";

/// Tells the breakers of a service what override it has by now, and answers how many changed their state; `by` takes
/// it back, if it has none.
///
/// What is left undone when this is dropped is done by the next walk, at the latest at the next start: a task that
/// nobody drops is to run it.
pub async fn put_in_force(
    engine: &Arc<Engine>,
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    service: &str,
    by: Asked,
) -> usize {
    let walk = engine.walk(Some(service), by);
    finish(engine, journal, clock, walk).await
}

/// Makes good what a crash left between the store and the breakers: the engine has noted the store's overrides, and
/// has every stored breaker. Answers how many breakers changed their state.
pub async fn make_good(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>) -> usize {
    finish(engine, journal, clock, engine.walk(None, meanwhile())).await
}

/// Who takes back what a walk finds that was not sent to take anything back.
pub fn meanwhile() -> Asked {
    let reason = "the service's override was taken back meanwhile".to_owned();
    Asked { actor: OURSELVES.to_owned(), reason }
}

async fn finish(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>, mut walk: Walk) -> usize {
    // Half is free, half of that is left to the breakers that change by themselves meanwhile.
    let most = CHUNK.min(journal.half() / 2).max(1);
    loop {
        journal.has_room().await;
        let (engine, clock) = (Arc::clone(engine), Arc::clone(clock));
        // Off the threads that decide.
        let walked = tokio::task::spawn_blocking(move || {
            let more = engine.walk_on(&mut walk, most, clock.now());
            (walk, more)
        });
        match walked.await {
            Ok((walked, true)) => walk = walked,
            Ok((walked, false)) => return walked.changed(),
            Err(error) => {
                tracing::error!(%error, "an override is not on every breaker of its service; the next start makes it good");
                return 0;
            }
        }
    }
}

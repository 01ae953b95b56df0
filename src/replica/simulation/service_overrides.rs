//! Overrides of the whole service: each replica follows the configuration that has them.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, Time};
use breakerd_common::clock::Clock;
use tokio::sync::watch;

use super::checker::SERVICE;
use super::executor::Executor;
use super::link::Link;
use super::service_checks::WALKER;
use crate::engine::{Engine, NotedOverride};
use crate::store::{StoreError, StoredConfiguration};

/// Between two walks.
const WALK_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to read the configuration.
const READ_AGAIN: Duration = Duration::from_millis(200);

fn by(actor: &str) -> Attribution {
    Attribution { actor: actor.to_owned(), reason: String::new() }
}

/// Takes note of the overrides that a configuration has.
pub(super) fn note(engine: &Engine, stored: StoredConfiguration, now: Time) {
    let noted = stored
        .overrides
        .into_iter()
        .map(|(service, set)| (service, NotedOverride { set_by: set.as_override(), revision: set.revision }));
    engine.note_service_overrides(noted, now);
}

pub(super) fn walk(engine: &Engine, now: Time) {
    let mut walk = engine.walk(None, by(WALKER));
    while engine.walk_on(&mut walk, 10, now) {}
}

/// What a replica does with the configuration that others write.
pub(super) async fn follow(
    executor: Executor,
    engine: Arc<Engine>,
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
    mut newest: watch::Receiver<u64>,
) {
    let mut known = u64::MAX;
    loop {
        if *newest.borrow_and_update() != known {
            let Ok(stored) = link.configuration().await else {
                clock.sleep_until(clock.now() + READ_AGAIN).await;
                continue;
            };
            known = stored.revision;
            note(&engine, stored, clock.now());
            let pause = executor.draw(|random| Duration::from_millis(50) + random.micros(100_000));
            clock.sleep_until(clock.now() + pause).await;
            if *newest.borrow() != known {
                continue;
            }
        }
        walk(&engine, clock.now());
        if !engine.ended_service_overrides(clock.now()).is_empty() {
            let _ = forget(&link).await;
        }
        tokio::select! {
            biased;
            changed = newest.changed() => if changed.is_err() { return },
            () = clock.sleep_until(clock.now() + WALK_EVERY) => {}
        }
    }
}

async fn forget(link: &Link) -> Result<(), StoreError> {
    let stored = link.configuration().await?;
    if let Some(set) = stored.overrides.get(SERVICE) {
        link.write_override(stored.revision, None, set.expires_at, WALKER).await?;
    }
    Ok(())
}

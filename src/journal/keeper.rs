//! The task that keeps the log in order: see `super::upkeep`.

use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::upkeep::Upkeep;
use super::{Journal, Removal};
use crate::store::StoreAdmin;

/// How often the log is looked after when nothing asks for it.
const EVERY: Duration = Duration::from_secs(1);
/// How soon again when something asks for it: a disk that fails is not tried at each transition.
const SOONEST: Duration = Duration::from_millis(100);

/// Looks after the journal until `stop`. Before it removes what the store has acknowledged, it asks `store` whether it
/// still is the one that did.
pub async fn run(
    journal: Arc<Journal>,
    store: Arc<dyn StoreAdmin>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let found = keep_up(&journal, &*clock, Removal::NotAsked).await;
        if found.is_some_and(|found| found.wants_removal) {
            let Some(answer) = stop.run_until_cancelled(store.ping()).await else { return };
            // A store that is away says nothing of what it has. Any other answer is that of another store.
            let removal = match answer {
                Err(error) if !error.is_transient() => Removal::Forbidden,
                _ => Removal::Allowed,
            };
            keep_up(&journal, &*clock, removal).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
            () = async {
                tokio::time::sleep(SOONEST).await;
                journal.needs_upkeep().await;
            } => {}
        }
    }
}

async fn keep_up(journal: &Arc<Journal>, clock: &dyn Clock, removal: Removal) -> Option<Upkeep> {
    let (journal, now) = (Arc::clone(journal), clock.now());
    blocking(move || journal.keep_up(now, removal)).await
}

//! Tells the store which breakers this replica uses, so that it keeps their rows and lets go of the others.
//!
//! Each hour of all that it has, and each second of those that calls have created since: one that is not known here may have a
//! row, and one that was retired here may have none any more. What was due while the store was away is said as soon as it is back:
//! so a replica that was cut off for longer than rows are kept hears which are gone.

use std::sync::Arc;
use std::time::Duration;

use breaker::Key;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::store::{ChangedRow, SharedStore, StoreError};
use crate::trouble::Trouble;

/// What it asks of the store.
const ACT: &str = "say which breakers are used";

/// Between two times that it is said of all: a small part of how long rows are kept.
const ALL_EVERY: Duration = Duration::from_hours(1);
/// Between two looks at what calls have created.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Breakers of one statement.
const BATCH: usize = 500;
/// Statements about new breakers between two looks: more are for the next one.
const BATCHES_MAX: usize = 10;

/// Tells the store which breakers are used.
pub struct RowUse {
    engine: Arc<Engine>,
    store: Arc<dyn SharedStore>,
    clock: Arc<dyn Clock>,
    all_every: Duration,
}

impl std::fmt::Debug for RowUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowUse").finish_non_exhaustive()
    }
}

impl RowUse {
    /// Over a store that other replicas write to as well.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, store, clock, all_every: ALL_EVERY }
    }

    /// The same, which says it of all so often.
    #[cfg(test)]
    pub(super) fn each(self, all_every: Duration) -> Self {
        Self { all_every, ..self }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.tell()).await;
    }

    async fn tell(&self) {
        let trouble = Trouble::default();
        let mut all_due = self.clock.now();
        loop {
            for _ in 0..BATCHES_MAX {
                let created = self.engine.rows_created(BATCH);
                if created.is_empty() {
                    break;
                }
                self.until_told(&created, &trouble).await;
            }
            if self.clock.now() >= all_due {
                all_due = self.clock.now() + self.all_every;
                let mut walk = self.engine.row_walk();
                loop {
                    let used = Engine::rows_used(&mut walk, BATCH);
                    if used.is_empty() {
                        break;
                    }
                    self.until_told(&used, &trouble).await;
                }
            }
            self.clock.sleep_until(self.clock.now() + LOOK_EVERY).await;
        }
    }

    /// Again, until the store answers.
    async fn until_told(&self, used: &[(Key, u64)], trouble: &Trouble) {
        while let Err(error) = self.told(used).await {
            trouble.note(ACT, &error, self.clock.now());
            self.clock.sleep_until(self.clock.now() + LOOK_EVERY).await;
        }
        trouble.is_over(ACT, self.clock.now());
    }

    /// Once, of these.
    async fn told(&self, used: &[(Key, u64)]) -> Result<(), StoreError> {
        let others = self.store.use_rows(used).await?;
        let now = self.clock.now();
        for ChangedRow { key, row, entered_by, .. } in &others {
            self.engine.take_other_row(key, row, *entered_by, now);
        }
        Ok(())
    }
}

//! Carries the journal to the store, in batches and in order.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Batch, Journal};
use crate::store::{Answer, Store, StoreError};

/// Entries in one transaction: enough that a thousand breakers opening at once are one.
const BATCH_MAX: usize = 1_000;
/// The first pause after the store did not answer; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Short enough that a store that is back is found within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The road from the journal to the store.
pub struct Writer {
    journal: Arc<Journal>,
    store: Arc<dyn Store>,
    /// The store did not take the last batch, and the log says so.
    refused: bool,
}

impl Writer {
    /// Will carry what is in `journal` to `store`.
    pub fn new(journal: Arc<Journal>, store: Arc<dyn Store>) -> Self {
        Self { journal, store, refused: false }
    }

    /// Runs until `stop`. The batch that is under way then is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSE_FIRST;
        let mut most = BATCH_MAX;
        loop {
            let waited = match self.step(most).await {
                Step::Wrote => {
                    pause = PAUSE_FIRST;
                    // After a search for a wrong row, back to whole batches bit by bit.
                    most = (most * 2).min(BATCH_MAX);
                    continue;
                }
                Step::Wrong => {
                    most = 1;
                    continue;
                }
                Step::Idle => stop.run_until_cancelled(self.journal.filled()).await,
                Step::Failed => {
                    let waited = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    waited
                }
            };
            if waited.is_none() {
                return;
            }
        }
    }

    async fn step(&mut self, most: usize) -> Step {
        let Some(batch) = self.journal.next(most) else { return Step::Idle };
        let error = match self.store.propose(&batch.proposals).await {
            Ok(answers) => {
                for (proposal, answer) in batch.proposals.iter().zip(&answers) {
                    if let Answer::Lost { present } = answer {
                        tracing::warn!(
                            breaker = %proposal.key,
                            epoch = present.epoch,
                            state = %present.state,
                            "the store has a later state of this breaker than the one it was given"
                        );
                    }
                }
                self.journal.done(&batch);
                self.answered();
                return Step::Wrote;
            }
            Err(error) => error,
        };
        if matches!(error, StoreError::Corrupt { .. }) {
            return self.search(&batch, &error);
        }
        self.journal.failed();
        self.did_not_answer(&error);
        Step::Failed
    }

    /// Something in the batch meets a row that is wrong, and would stop the history of every breaker: the
    /// entries are tried one by one, and the one at fault is left out, loudly.
    fn search(&self, batch: &Batch, error: &StoreError) -> Step {
        match batch.entries() {
            [] | [_] => {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    changes = ?batch.proposals,
                    "the store cannot hold this change, which is left out of the history"
                );
                self.journal.done(batch);
                Step::Wrote
            }
            _ => {
                self.journal.failed();
                Step::Wrong
            }
        }
    }

    fn answered(&mut self) {
        if std::mem::replace(&mut self.refused, false) {
            tracing::info!("the store answers again; the journal is being written to it");
        }
    }

    fn did_not_answer(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.refused, true) {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the store does not take changes: they wait in the journal"
            );
        }
    }
}

enum Step {
    Wrote,
    Idle,
    Failed,
    /// A row is wrong, and the batch has more entries than one.
    Wrong,
}

//! A store that meters what many replicas ask of it: statements, rows and bytes, and who knows of a transition already.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Key, Time};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::executor::{Executor, Owner};
use crate::store::{
    Answer, Answered, ChangedRow, CountExchange, CountPage, CountStore, MemoryStore, ProbeRequest,
    ProbeResponse, Proposal, RowCursor, RowsPage, SharedStore, StoreError,
};

/// From a replica to the store, and back again.
const ONE_WAY: Duration = Duration::from_micros(500);
/// Bytes of a statement, both ways, and of each item in it: transitions that are proposed, requests about probes, rows that are
/// polled, counts that are published. Measured by `benches/statements.rs`.
const PROPOSED: (u64, u64) = (2_500, 1_200);
const ABOUT_PROBES: (u64, u64) = (2_200, 1_330);
const POLLED: (u64, u64) = (480, 340);
const COUNTED: (u64, u64) = (530, 155);
/// Of counts that are read.
const COUNTS_READ: u64 = 187;

/// What the store was asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) proposals: Sum,
    pub(super) probes: Sum,
    pub(super) polls: Sum,
    pub(super) counts: Sum,
    pub(super) counts_read: u64,
}

/// Statements, and what is in them: rows that are written, or read by polls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) statements: u64,
    pub(super) rows: u64,
}

impl Sum {
    fn add(&mut self, rows: usize) {
        self.statements += 1;
        self.rows += rows as u64;
    }
}

impl Asked {
    pub(super) fn statements(&self) -> u64 {
        [self.proposals, self.probes, self.polls, self.counts].iter().map(|sum| sum.statements).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        let sums = [
            (self.proposals, PROPOSED),
            (self.probes, ABOUT_PROBES),
            (self.polls, POLLED),
            (self.counts, COUNTED),
        ];
        let of = |(sum, (statement, row)): (Sum, (u64, u64))| sum.statements * statement + sum.rows * row;
        sums.into_iter().map(of).sum::<u64>() + self.counts_read * COUNTS_READ
    }
}

/// A transition that is in the store: who is the next that may not know of it.
pub(super) struct Told {
    pub(super) key: Key,
    pub(super) epoch: u64,
    pub(super) at: Time,
    pub(super) next: usize,
}

/// The store, as far as replicas reach it.
pub(super) struct Metered {
    pub(super) executor: Executor,
    pub(super) store: MemoryStore,
    pub(super) asked: Mutex<Asked>,
    pub(super) told: Mutex<Vec<Told>>,
    pub(super) row_hints: Vec<Arc<Notify>>,
    pub(super) count_hints: Vec<Arc<Notify>>,
}

impl Metered {
    async fn asked<T>(&self, call: impl Future<Output = T>) -> T {
        self.executor.sleep(ONE_WAY).await;
        let answer = call.await;
        self.executor.sleep(ONE_WAY).await;
        answer
    }

    /// A breaker has this epoch now: how long until all replicas know?
    fn note(&self, key: &Key, epoch: u64) {
        self.told.lock().push(Told { key: key.clone(), epoch, at: self.executor.now(), next: 0 });
    }

    /// What was written is told to all replicas.
    fn hint(&self, hints: &[Arc<Notify>]) {
        let (executor, hints) = (self.executor.clone(), hints.to_vec());
        self.executor.spawn(Owner::World, async move {
            executor.sleep(ONE_WAY).await;
            for hint in hints {
                hint.notify_one();
            }
        });
    }
}

#[async_trait]
impl SharedStore for Metered {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        let call = async {
            self.asked.lock().proposals.add(proposals.len());
            let answers = self.store.propose_shared(proposals).await?;
            for answer in &answers {
                if let Answer::Won { epoch, .. } = answer.answer {
                    self.note(&answer.row.key, epoch);
                }
            }
            self.hint(&self.row_hints);
            Ok(answers)
        };
        self.asked(call).await
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        let call = async {
            self.asked.lock().probes.add(requests.len());
            let answers = self.store.ask_probes(requests).await?;
            let mut has_decided = false;
            for (request, answer) in requests.iter().zip(&answers) {
                let ProbeResponse::Settled { answer, .. } = answer else { continue };
                if answer.row.snapshot.epoch > request.epoch() {
                    has_decided = true;
                    self.note(request.key(), answer.row.snapshot.epoch);
                }
            }
            if has_decided {
                self.hint(&self.row_hints);
            }
            Ok(answers)
        };
        self.asked(call).await
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.asked(self.store.use_rows(used)).await
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.asked(self.store.begin_timeline(present, past)).await
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        let call = async {
            let page = self.store.rows_after(after, seen, limit).await?;
            self.asked.lock().polls.add(page.rows.len());
            Ok(page)
        };
        self.asked(call).await
    }
}

#[async_trait]
impl CountStore for Metered {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let call = async {
            let page = self.store.exchange_counts(exchange).await?;
            let mut asked = self.asked.lock();
            asked.counts.add(exchange.published.len());
            asked.counts_read += page.rows.len() as u64;
            drop(asked);
            if exchange.hints {
                self.hint(&self.count_hints);
            }
            Ok(page)
        };
        self.asked(call).await
    }
}

//! What replicas ask of the store that they share, with metrics.

use std::sync::Arc;

use async_trait::async_trait;
use breaker::Key;

use super::store_operations::StoreOperations;
use crate::store::{
    Answered, ChangedRow, CountExchange, CountPage, CountStore, ProbeRequest, ProbeResponse, Proposal,
    RowCursor, RowsPage, SharedStore, StoreError, Told,
};

/// Every operation, as the metrics name it.
const OPERATIONS: [&str; 5] = ["propose_shared", "ask_probes", "rows_after", "use_rows", "begin_timeline"];

/// Passes every operation on to another store, and counts.
pub struct MeteredSharedStore {
    store: Arc<dyn SharedStore>,
    operations: StoreOperations,
}

impl MeteredSharedStore {
    /// Counts what is asked of `store`.
    pub fn new(store: Arc<dyn SharedStore>, operations: StoreOperations) -> Self {
        operations.show(&OPERATIONS);
        Self { store, operations }
    }
}

#[async_trait]
impl SharedStore for MeteredSharedStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        let call = self.store.propose_shared(proposals);
        let answered = self.operations.watch_writing("propose_shared", proposals, call).await?;
        for answered in &answered {
            self.operations.saw(answered.row.row.version.revision);
        }
        Ok(answered)
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.operations.watch("ask_probes", self.store.ask_probes(requests)).await
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        let page = self.operations.watch("rows_after", self.store.rows_after(after, seen, limit)).await?;
        self.operations.saw(page.position.newest.revision);
        Ok(page)
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.operations.watch("use_rows", self.store.use_rows(used)).await
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.operations.watch("begin_timeline", self.store.begin_timeline(present, past)).await
    }

    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        self.store.listen(told).await
    }
}

/// Passes what replicas count on to another store, and counts that.
pub struct MeteredCountStore {
    store: Arc<dyn CountStore>,
    operations: StoreOperations,
}

impl MeteredCountStore {
    /// Counts what is asked of `store`.
    pub fn new(store: Arc<dyn CountStore>, operations: StoreOperations) -> Self {
        operations.show(&["exchange_counts"]);
        Self { store, operations }
    }
}

#[async_trait]
impl CountStore for MeteredCountStore {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        self.operations.watch("exchange_counts", self.store.exchange_counts(exchange)).await
    }
}

//! A store with metrics: how long each operation takes, how many fail, and what their results mean for its status.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};

use super::store_operations::StoreOperations;
use crate::store::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, Store, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};

/// Every operation, as the metrics name it.
const OPERATIONS: [&str; 21] = [
    "meta",
    "propose",
    "breakers",
    "transitions",
    "configuration",
    "write_config",
    "request",
    "keep_request",
    "changes",
    "history_floor",
    "prune",
    "breakers_without_history",
    "delete_breakers",
    "revision",
    "position",
    "renew_timeline",
    "permit_keys",
    "add_permit_key",
    "advance_permit_keys",
    "ping",
    "check_writable",
];

/// Passes every operation on to another store, and counts.
pub struct MeteredStore {
    store: Arc<dyn Store>,
    operations: StoreOperations,
}

impl MeteredStore {
    /// Counts what is asked of `store`.
    pub fn new(store: Arc<dyn Store>, operations: StoreOperations) -> Self {
        operations.show(&OPERATIONS);
        Self { store, operations }
    }

    async fn watch<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.operations.watch(operation, call).await
    }

    fn saw(&self, revision: u64) {
        self.operations.saw(revision);
    }
}

#[async_trait]
impl TransitionStore for MeteredStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        let call = self.store.propose(proposals);
        let answers = self.operations.watch_writing("propose", proposals, call).await?;
        for answer in &answers {
            if let Answer::Won { revision, .. } = answer {
                self.saw(*revision);
            }
        }
        Ok(answers)
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.watch("breakers", self.store.breakers(after, limit)).await
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.watch("transitions", self.store.transitions(query)).await
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.watch("history_floor", self.store.history_floor()).await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.watch("prune", self.store.prune(retention)).await
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        let read = self.store.breakers_without_history(before, after, limit);
        self.watch("breakers_without_history", read).await
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.watch("delete_breakers", self.store.delete_breakers(breakers)).await
    }
}

#[async_trait]
impl ConfigStore for MeteredStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        self.watch("configuration", self.store.configuration()).await
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        let written = self.watch("write_config", self.store.write_config(write)).await?;
        if let ConfigWritten::Written(changed) = written {
            self.saw(changed.revision);
        }
        Ok(written)
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.watch("request", self.store.request(request)).await
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.watch("keep_request", self.store.keep_request(request)).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.watch("changes", self.store.changes(query)).await
    }
}

#[async_trait]
impl TimelineStore for MeteredStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.watch("meta", self.store.meta()).await
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let revision = self.watch("revision", self.store.revision()).await?;
        self.saw(revision);
        Ok(revision)
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        let position = self.watch("position", self.store.position(seen)).await?;
        self.saw(position.newest.revision);
        Ok(position)
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        let renewed = self.watch("renew_timeline", self.store.renew_timeline(present, past)).await;
        // The revision went back with the store: the next response has the present one.
        self.operations.metrics.revision.set(0);
        renewed
    }
}

#[async_trait]
impl PermitKeyStore for MeteredStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        self.watch("permit_keys", self.store.permit_keys()).await
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.watch("add_permit_key", self.store.add_permit_key(attribution)).await
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.watch("advance_permit_keys", self.store.advance_permit_keys(held)).await
    }
}

#[async_trait]
impl StoreAdmin for MeteredStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.watch("ping", self.store.ping()).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.watch("check_writable", self.store.check_writable()).await
    }

    async fn close(&self) {
        self.store.close().await;
        self.operations.metrics.reachable.set(0);
    }
}

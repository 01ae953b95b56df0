//! A store that is not open yet: for a start while it is away. Until it is, nothing that is asked of it is answered.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};

use super::open::Shared;
use super::{
    Answer, Answered, ChangeQuery, ChangedRow, ConfigStore, ConfigWrite, ConfigWritten, CountExchange,
    CountPage, CountStore, LiveReplica, Meta, OtherReplicas, PermitKey, PermitKeyAdded, PermitKeyStore,
    Position, ProbeRequest, ProbeResponse, Proposal, Pruned, ReplicaStore, RequestId, Retention, RowCursor,
    RowsPage, SharedStore, StoreAdmin, StoreError, StoredBreaker, StoredChange, StoredConfiguration,
    StoredReplicas, StoredTransition, TimelineStore, Told, TransitionQuery, TransitionStore,
};

/// A shared store that is opened later.
#[derive(Default)]
pub struct DeferredStore {
    opened: OnceLock<Shared>,
}

impl std::fmt::Debug for DeferredStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeferredStore").field("is_open", &self.opened.get().is_some()).finish()
    }
}

impl DeferredStore {
    /// From now on it answers. A second time changes nothing.
    pub fn open(&self, opened: Shared) {
        // There is one who opens it.
        let _ = self.opened.set(opened);
    }

    /// This store, for each that asks it.
    pub fn shared(self: &Arc<Self>) -> Shared {
        Shared { store: self.clone(), shared: self.clone(), replicas: self.clone(), counts: self.clone() }
    }

    fn opened(&self) -> Result<&Shared, StoreError> {
        self.opened
            .get()
            .ok_or_else(|| StoreError::unavailable("ask the store", "it was not reached since the start"))
    }
}

#[async_trait]
impl TransitionStore for DeferredStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        self.opened()?.store.propose(proposals).await
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.opened()?.store.breakers(after, limit).await
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.opened()?.store.transitions(query).await
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.opened()?.store.history_floor().await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.opened()?.store.prune(retention).await
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        self.opened()?.store.breakers_without_history(before, after, limit).await
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.opened()?.store.delete_breakers(breakers).await
    }
}

#[async_trait]
impl ConfigStore for DeferredStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        self.opened()?.store.configuration().await
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        self.opened()?.store.write_config(write).await
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.opened()?.store.request(request).await
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.opened()?.store.keep_request(request).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.opened()?.store.changes(query).await
    }
}

#[async_trait]
impl TimelineStore for DeferredStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.opened()?.store.meta().await
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.opened()?.store.revision().await
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        self.opened()?.store.position(seen).await
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.opened()?.store.renew_timeline(present, past).await
    }
}

#[async_trait]
impl PermitKeyStore for DeferredStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        self.opened()?.store.permit_keys().await
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.opened()?.store.add_permit_key(attribution).await
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.opened()?.store.advance_permit_keys(held).await
    }
}

#[async_trait]
impl StoreAdmin for DeferredStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.opened()?.store.ping().await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.opened()?.store.check_writable().await
    }

    async fn close(&self) {
        if let Some(opened) = self.opened.get() {
            opened.store.close().await;
        }
    }
}

#[async_trait]
impl SharedStore for DeferredStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        self.opened()?.shared.propose_shared(proposals).await
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.opened()?.shared.ask_probes(requests).await
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.opened()?.shared.use_rows(used).await
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.opened()?.shared.begin_timeline(present, past).await
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        self.opened()?.shared.rows_after(after, seen, limit).await
    }

    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        match self.opened() {
            Ok(opened) => opened.shared.listen(told).await,
            Err(error) => error,
        }
    }
}

#[async_trait]
impl ReplicaStore for DeferredStore {
    async fn note_replica(&self, replica: &LiveReplica) -> Result<OtherReplicas, StoreError> {
        self.opened()?.replicas.note_replica(replica).await
    }

    async fn forget_replica(&self, name: &str, boot: u64) -> Result<(), StoreError> {
        self.opened()?.replicas.forget_replica(name, boot).await
    }

    async fn replicas(&self) -> Result<StoredReplicas, StoreError> {
        self.opened()?.replicas.replicas().await
    }
}

#[async_trait]
impl CountStore for DeferredStore {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        self.opened()?.counts.exchange_counts(exchange).await
    }
}

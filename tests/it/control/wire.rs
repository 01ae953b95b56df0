//! A store behind a wire that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};
use breakerd::store::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, Store, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};
use tokio::sync::Semaphore;

/// A real store behind a wire that can be cut before a write, or behind it.
pub(super) struct Wire {
    pub(super) store: Arc<dyn Store>,
    /// Nothing comes through.
    pub(super) is_cut: AtomicBool,
    /// The next write is made, and its answer is lost.
    pub(super) loses_next: AtomicBool,
    /// Writes wait here for their turn.
    pub(super) gate: Semaphore,
    /// Writes that came as far as the gate.
    pub(super) at_gate: AtomicU32,
    /// How often the whole configuration was read.
    pub(super) reads: AtomicU32,
}

impl Wire {
    fn away() -> StoreError {
        StoreError::unavailable("ask", "the database is away")
    }

    fn passes(&self) -> Result<&dyn Store, StoreError> {
        if self.is_cut.load(Ordering::SeqCst) { Err(Self::away()) } else { Ok(&*self.store) }
    }
}

#[async_trait]
impl TransitionStore for Wire {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        self.passes()?.propose(proposals).await
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.passes()?.breakers(after, limit).await
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.passes()?.transitions(query).await
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.passes()?.history_floor().await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.passes()?.prune(retention).await
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        self.passes()?.breakers_without_history(before, after, limit).await
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.passes()?.delete_breakers(breakers).await
    }
}

#[async_trait]
impl ConfigStore for Wire {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        let store = self.passes()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        store.configuration().await
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        let store = self.passes()?;
        self.at_gate.fetch_add(1, Ordering::SeqCst);
        let _pass = self.gate.acquire().await.unwrap();
        let written = store.write_config(write).await?;
        if self.loses_next.swap(false, Ordering::SeqCst) { Err(Self::away()) } else { Ok(written) }
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.passes()?.request(request).await
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.passes()?.keep_request(request).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.passes()?.changes(query).await
    }
}

#[async_trait]
impl TimelineStore for Wire {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.passes()?.meta().await
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.passes()?.revision().await
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        self.passes()?.position(seen).await
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.passes()?.renew_timeline(present, past).await
    }
}

#[async_trait]
impl PermitKeyStore for Wire {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        self.passes()?.permit_keys().await
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.passes()?.add_permit_key(attribution).await
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.passes()?.advance_permit_keys(held).await
    }
}

#[async_trait]
impl StoreAdmin for Wire {
    async fn ping(&self) -> Result<(), StoreError> {
        self.passes()?.ping().await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.passes()?.check_writable().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

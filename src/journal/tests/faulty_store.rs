//! A real store that fails when a test says so.

use async_trait::async_trait;
use breaker::{Attribution, Key};
use tokio::sync::Notify;

use super::*;
use crate::store::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Pruned, RequestId, Retention, SqliteStore, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};

/// SQLite in a folder of its own.
pub(super) struct FaultyStore {
    store: SqliteStore,
    _folder: tempfile::TempDir,
    /// How the next calls fail, the first first.
    faults: Mutex<Vec<StoreError>>,
    /// The name of a breaker of which the store takes nothing.
    wrong: Option<&'static str>,
    /// How many proposals each call brought.
    batches: Mutex<Vec<usize>>,
    /// Notified when it has answered whether it is there.
    pub(super) pinged: Notify,
}

impl FaultyStore {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("breakerd.db")).await.unwrap();
        Self {
            store,
            _folder: folder,
            faults: Mutex::default(),
            wrong: None,
            batches: Mutex::default(),
            pinged: Notify::new(),
        }
    }

    /// Rejects what concerns this breaker, as if its row were wrong.
    pub(super) async fn with_wrong_row(name: &'static str) -> Self {
        Self { wrong: Some(name), ..Self::new().await }
    }

    /// The next call fails like this.
    pub(super) fn fails(&self, error: StoreError) {
        self.faults.lock().push(error);
    }

    pub(super) fn is_away() -> StoreError {
        StoreError::unavailable("write", "the database is away")
    }

    pub(super) fn batches(&self) -> Vec<usize> {
        self.batches.lock().clone()
    }

    /// The epochs that it has of each breaker's newest state, by name.
    pub(super) async fn epochs(&self) -> Vec<(String, u64)> {
        let stored = self.store.breakers(None, 1_000).await.unwrap();
        stored.iter().map(|stored| (stored.key.name().to_string(), stored.snapshot.epoch)).collect()
    }

    fn fault(&self) -> Result<(), StoreError> {
        let mut faults = self.faults.lock();
        if faults.is_empty() { Ok(()) } else { Err(faults.remove(0)) }
    }
}

#[async_trait]
impl TransitionStore for FaultyStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        self.batches.lock().push(proposals.len());
        self.fault()?;
        if proposals.iter().any(|proposal| Some(&**proposal.key.name()) == self.wrong) {
            return Err(StoreError::Corrupt { act: "write", problem: "its row is wrong".to_owned() });
        }
        self.store.propose(proposals).await
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.store.breakers(after, limit).await
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.store.transitions(query).await
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.store.history_floor().await
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.store.prune(retention).await
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        self.store.breakers_without_history(before, after, limit).await
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.store.delete_breakers(breakers).await
    }
}

#[async_trait]
impl ConfigStore for FaultyStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        self.store.configuration().await
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        self.store.write_config(write).await
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.store.request(request).await
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.store.keep_request(request).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.store.changes(query).await
    }
}

#[async_trait]
impl TimelineStore for FaultyStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.store.meta().await
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.store.revision().await
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        self.store.position(seen).await
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.store.renew_timeline(present, past).await
    }
}

#[async_trait]
impl PermitKeyStore for FaultyStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        self.store.permit_keys().await
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.store.add_permit_key(attribution).await
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.store.advance_permit_keys(held).await
    }
}

#[async_trait]
impl StoreAdmin for FaultyStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let answer = match self.fault() {
            Ok(()) => self.store.ping().await,
            failed => failed,
        };
        self.pinged.notify_one();
        answer
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.store.check_writable().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

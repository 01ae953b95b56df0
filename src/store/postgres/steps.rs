//! The steps of [`crate::store::script`], in the SQL of this store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use breaker::{Key, Snapshot};
use sqlx::postgres::PgPool;

use super::lock::Lock;
use super::write_transaction::{Write, begin, bump, lock_revision};
use super::{config, requests, row_locks, write};
use crate::store::config_rows::Audit;
use crate::store::history::Bumped;
use crate::store::judge::probes::ProbeRows;
use crate::store::judge::{Judgement, LockedRows};
use crate::store::rows::keys;
use crate::store::script::WriteTransaction;
use crate::store::timestamp::Timestamp;
use crate::store::{ConfigEdit, ConfigWritten, Proposal, RequestId, StoreError, StoredBreaker};

/// The steps of what writes.
pub(super) struct PostgresTransaction<'a> {
    pub(super) tx: Write,
    pub(super) lock: &'a Lock,
    row_locks: RowLocks,
    /// The breakers whose rows were locked, if that was a step of its own.
    pub(super) locked: Option<BTreeSet<Key>>,
    /// The slots as they were before this transaction.
    pub(super) probes_read: BTreeMap<(Key, u64), ProbeRows>,
}

/// What keeps rows of breakers from changing between reading and writing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowLocks {
    /// The revision's row, which every other writer waits for.
    Revision,
    /// Their own locks too: claims of probes do not wait for the revision's row.
    Each,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) async fn begin(pool: &PgPool, lock: &'a Lock) -> Result<Self, StoreError> {
        Self::with(pool, lock, RowLocks::Revision).await
    }

    /// Beside claims of probes.
    pub(super) async fn begin_shared(pool: &PgPool, lock: &'a Lock) -> Result<Self, StoreError> {
        Self::with(pool, lock, RowLocks::Each).await
    }

    async fn with(pool: &PgPool, lock: &'a Lock, row_locks: RowLocks) -> Result<Self, StoreError> {
        Ok(Self { tx: begin(pool).await?, lock, row_locks, locked: None, probes_read: BTreeMap::new() })
    }
}

#[async_trait]
impl WriteTransaction for PostgresTransaction<'_> {
    async fn lock_revision(&mut self) -> Result<Timestamp, StoreError> {
        lock_revision(&mut self.tx, self.lock).await
    }

    async fn read_rows<'a>(&mut self, proposals: &'a [Proposal]) -> Result<LockedRows<'a>, StoreError> {
        let keys = keys(proposals);
        if self.row_locks == RowLocks::Each {
            row_locks::lock_breakers(&mut self.tx, self.lock, &keys).await?;
        }
        write::read_rows(&mut self.tx, &keys, proposals).await
    }

    async fn bump(&mut self) -> Result<Bumped, StoreError> {
        bump(&mut self.tx, self.lock).await
    }

    async fn write_breakers(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        write::write_breakers(&mut self.tx, judgement, bumped.revision).await
    }

    async fn write_history(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        write::write_history(&mut self.tx, judgement, bumped).await
    }

    async fn write_episodes(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        write::write_episodes(&mut self.tx, judgement, bumped).await
    }

    async fn write_open_time(&mut self, judgement: &Judgement<'_>) -> Result<(), StoreError> {
        write::write_open_time(&mut self.tx, judgement).await
    }

    async fn write_receipts(
        &mut self,
        judgement: &Judgement<'_>,
        revision: Option<i64>,
        recorded_at: Timestamp,
    ) -> Result<(), StoreError> {
        write::write_receipts(&mut self.tx, judgement, revision, recorded_at).await
    }

    async fn write_audit(&mut self, audit: Audit, bumped: Bumped) -> Result<(), StoreError> {
        config::write_audit(&mut self.tx, audit, bumped).await
    }

    async fn lock_configuration(&mut self) -> Result<u64, StoreError> {
        config::lock_head(&mut self.tx).await?.revision()
    }

    async fn find_request(&mut self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        requests::find(&mut *self.tx, request).await
    }

    async fn write_request(&mut self, request: &RequestId, bumped: Bumped) -> Result<(), StoreError> {
        requests::write(&mut self.tx, request, bumped).await
    }

    async fn write_generation(&mut self, generation: u64) -> Result<Timestamp, StoreError> {
        config::write_generation(&mut self.tx, generation).await
    }

    async fn open_breakers(&mut self, services: &BTreeSet<String>) -> Result<Vec<StoredBreaker>, StoreError> {
        config::open_breakers(&mut self.tx, services).await
    }

    async fn write_waits(&mut self, waits: &[(Key, Snapshot)], bumped: Bumped) -> Result<(), StoreError> {
        let keys: Vec<_> = waits.iter().map(|(key, _)| key).collect();
        row_locks::lock_breakers(&mut self.tx, self.lock, &keys).await?;
        config::write_waits(&mut self.tx, waits, bumped).await
    }

    async fn write_edit(&mut self, edit: &ConfigEdit, bumped: Bumped) -> Result<Option<String>, StoreError> {
        config::write_edit(&mut self.tx, edit, bumped).await
    }

    async fn write_service_revisions(
        &mut self,
        services: &BTreeSet<String>,
        bumped: Bumped,
    ) -> Result<(), StoreError> {
        config::write_service_revisions(&mut self.tx, services, bumped).await
    }

    async fn write_configuration_revision(&mut self, bumped: Bumped) -> Result<(), StoreError> {
        config::write_revision(&mut self.tx, bumped).await
    }

    async fn commit(self, act: &'static str) -> Result<(), StoreError> {
        self.tx.commit(act).await
    }

    async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }
}

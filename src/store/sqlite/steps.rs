//! The steps of [`crate::store::script`], in the SQL of this store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use breaker::{Key, Snapshot};
use sqlx::SqlitePool;

use super::write_transaction::{Write, begin, bump, clock};
use super::{config, permit_keys, requests, write};
use crate::store::config_rows::Audit;
use crate::store::history::Bumped;
use crate::store::judge::{Judgement, LockedRows};
use crate::store::permit_key_rows::PresentKey;
use crate::store::script::WriteTransaction;
use crate::store::timestamp::Timestamp;
use crate::store::{ConfigEdit, ConfigWritten, Proposal, RequestId, StoreError, StoredBreaker};

/// The steps of what writes.
pub(super) struct SqliteTransaction {
    tx: Write,
}

impl SqliteTransaction {
    pub(super) async fn begin(writer: &SqlitePool) -> Result<Self, StoreError> {
        Ok(Self { tx: begin(writer).await? })
    }
}

#[async_trait]
impl WriteTransaction for SqliteTransaction {
    /// `BEGIN IMMEDIATE` has seen to it.
    async fn lock_revision(&mut self) -> Result<Timestamp, StoreError> {
        clock(&mut self.tx).await
    }

    async fn read_rows<'a>(&mut self, proposals: &'a [Proposal]) -> Result<LockedRows<'a>, StoreError> {
        write::read_rows(&mut self.tx, proposals).await
    }

    async fn bump(&mut self) -> Result<Bumped, StoreError> {
        bump(&mut self.tx).await
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

    async fn present_permit_keys(&mut self) -> Result<Vec<PresentKey>, StoreError> {
        permit_keys::present(&mut self.tx).await
    }

    async fn write_permit_key(
        &mut self,
        number: i64,
        secret: &[u8; 16],
        bumped: Bumped,
    ) -> Result<(), StoreError> {
        permit_keys::write(&mut self.tx, number, secret, bumped).await
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

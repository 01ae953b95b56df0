//! The steps of [`crate::store::script`], in the SQL of this store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use breaker::{Key, Snapshot};
use sqlx::postgres::PgPool;

use super::lock::Lock;
use super::shared_rows::{Locks, SharedRows};
use super::statements_text::{ROWS_MAX, StatementsText};
use super::write_transaction::{LockedRevision, Write, begin_shared, begin_under, bump, lock_revision};
use super::{config, permit_keys, requests, row_locks, write, write_text};
use crate::store::config_rows::Audit;
use crate::store::history::Bumped;
use crate::store::judge::probes::ProbeRows;
use crate::store::judge::{Judgement, LockedRows, named_services};
use crate::store::permit_key_rows::PresentKey;
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
    /// Beside claims of probes: the rows of breakers.
    pub(super) rows: SharedRows,
    pub(super) revision: Option<LockedRevision>,
    /// It is bumped with the commit, to this one.
    bumped: Option<Bumped>,
    /// What goes with the commit, in one message.
    last: StatementsText,
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
        Ok(Self::on(begin_under(pool, lock).await?, lock, RowLocks::Revision))
    }

    /// Beside claims of probes.
    pub(super) async fn begin_shared(pool: &PgPool, lock: &'a Lock) -> Result<Self, StoreError> {
        Ok(Self::on(begin_shared(pool).await?, lock, RowLocks::Each))
    }

    fn on(tx: Write, lock: &'a Lock, row_locks: RowLocks) -> Self {
        let (rows, last) = (SharedRows::default(), StatementsText::default());
        Self {
            tx,
            lock,
            row_locks,
            locked: None,
            probes_read: BTreeMap::new(),
            rows,
            revision: None,
            bumped: None,
            last,
        }
    }

    /// Where what was decided is written, if it goes with the commit: others wait for the revision's row, and it is not much.
    fn in_last_message(&mut self, judgement: &Judgement<'_>) -> Option<&mut StatementsText> {
        let rows = judgement.changed.len() + judgement.entries.len();
        (self.row_locks == RowLocks::Each && rows <= ROWS_MAX).then_some(&mut self.last)
    }
}

#[async_trait]
impl WriteTransaction for PostgresTransaction<'_> {
    async fn lock_revision(&mut self) -> Result<Timestamp, StoreError> {
        let locked = lock_revision(&mut self.tx, self.lock).await?;
        self.revision = Some(locked);
        Ok(locked.now)
    }

    async fn read_rows<'a>(&mut self, proposals: &'a [Proposal]) -> Result<LockedRows<'a>, StoreError> {
        let keys = keys(proposals);
        if self.row_locks == RowLocks::Each {
            self.rows.read(&mut self.tx, &keys, Locks::Now).await?;
            let present = self.rows.present(&keys)?;
            let timeline = Some(self.rows.timeline());
            let known = write::read_receipts(&mut self.tx, proposals).await?;
            let services = config::service_overrides(&mut self.tx, &named_services(proposals)).await?;
            let let_go_epoch = self.rows.let_go_epoch();
            return Ok(LockedRows { timeline, present, known, services, let_go_epoch });
        }
        write::read_rows(&mut self.tx, &keys, proposals).await
    }

    async fn bump(&mut self) -> Result<Bumped, StoreError> {
        match self.revision.filter(|_| self.row_locks == RowLocks::Each) {
            Some(locked) => {
                // Last, and with the commit.
                let bumped = locked.next()?;
                self.bumped = Some(bumped);
                Ok(bumped)
            }
            None => bump(&mut self.tx, self.lock).await,
        }
    }

    async fn write_breakers(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        self.rows.write(judgement, bumped);
        if let Some(last) = self.in_last_message(judgement) {
            return write_text::write_breakers(last, judgement, bumped.revision);
        }
        write::write_breakers(&mut self.tx, judgement, bumped.revision).await
    }

    async fn write_history(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        if let Some(last) = self.in_last_message(judgement) {
            return write_text::write_history(last, judgement, bumped);
        }
        write::write_history(&mut self.tx, judgement, bumped).await
    }

    async fn write_episodes(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        if let Some(last) = self.in_last_message(judgement) {
            return write_text::write_episodes(last, judgement, bumped);
        }
        write::write_episodes(&mut self.tx, judgement, bumped).await
    }

    async fn write_open_time(&mut self, judgement: &Judgement<'_>) -> Result<(), StoreError> {
        if let Some(last) = self.in_last_message(judgement) {
            return write_text::write_open_time(last, judgement);
        }
        write::write_open_time(&mut self.tx, judgement).await
    }

    async fn write_receipts(
        &mut self,
        judgement: &Judgement<'_>,
        revision: Option<i64>,
        recorded_at: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(last) = self.in_last_message(judgement) {
            return write_text::write_receipts(last, judgement, revision, recorded_at);
        }
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

    async fn commit(mut self, act: &'static str) -> Result<(), StoreError> {
        if let Some(bumped) = self.bumped {
            self.last.bump(bumped);
        }
        match self.last.take() {
            Some(statements) => self.tx.commit_after(statements, act).await,
            None => self.tx.commit(act).await,
        }
    }

    async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }
}

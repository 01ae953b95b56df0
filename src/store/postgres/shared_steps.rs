//! The steps of [`crate::store::shared_script`], in the SQL of this store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use breaker::{Key, State};

use super::shared_rows::Locks;
use super::steps::PostgresTransaction;
use super::write_transaction::lock_unchecked;
use super::{config, probe_rows, row_locks, server_timeline, transition_rows};
use crate::store::judge::probes::ProbeRows;
use crate::store::shared_script::{SharedTransaction, StoredProbes, StoredRows};
use crate::store::sqlx_error::fault;
use crate::store::statements::random_step;
use crate::store::timeline_store::timeline_after;
use crate::store::timestamp::Timestamp;
use crate::store::{StoreError, StoredBreaker, StoredTransition, TransitionId};

#[async_trait]
impl SharedTransaction for PostgresTransaction<'_> {
    async fn lock_unchecked(&mut self) -> Result<Timestamp, StoreError> {
        let locked = lock_unchecked(&mut self.tx, self.lock).await?;
        self.revision = Some(locked);
        Ok(locked.now)
    }

    async fn begin_timeline(&mut self, present: u32, past: u32) -> Result<Option<u32>, StoreError> {
        let timeline = timeline_after(present.max(past), random_step()?);
        let begun = sqlx::query(server_timeline::BEGIN)
            .bind(i64::from(timeline))
            .bind(i64::from(present))
            .execute(&mut *self.tx)
            .await
            .map_err(fault("begin a timeline"))?;
        Ok((begun.rows_affected() == 1).then_some(timeline))
    }

    async fn half_open_breakers(&mut self) -> Result<Vec<StoredBreaker>, StoreError> {
        config::breakers_in(&mut self.tx, State::HalfOpen).await
    }

    async fn lock_breakers(&mut self, keys: &[&Key]) -> Result<Timestamp, StoreError> {
        let locked = row_locks::lock_breakers(&mut self.tx, self.lock, keys).await?;
        self.locked = Some(locked.keys);
        Ok(locked.now)
    }

    /// A row that was inserted after the others were locked is not locked, and is left out: nothing may be decided by it.
    async fn read_stored<'a>(&mut self, keys: &[&'a Key]) -> Result<StoredRows<'a>, StoreError> {
        let mut wanted = keys.to_vec();
        wanted.retain(|key| self.locked.as_ref().is_none_or(|locked| locked.contains(*key)));
        self.rows.read(&mut self.tx, &wanted, Locks::Before).await?;
        Ok(self.rows.stored(&wanted))
    }

    async fn read_probes<'a>(&mut self, wanted: &[(&'a Key, u64)]) -> Result<StoredProbes<'a>, StoreError> {
        let probes = probe_rows::read(&mut self.tx, wanted).await?;
        self.probes_read = probes
            .slots
            .iter()
            .map(|((key, epoch), rows)| (((*key).clone(), *epoch), rows.clone()))
            .collect();
        Ok(probes)
    }

    async fn write_probes(&mut self, changed: &BTreeMap<(&Key, u64), ProbeRows>) -> Result<(), StoreError> {
        probe_rows::write(&mut self.tx, &self.probes_read, changed).await
    }

    async fn read_decided(&mut self, ids: &[&TransitionId]) -> Result<Vec<StoredTransition>, StoreError> {
        transition_rows::read_decided(&mut self.tx, ids).await
    }
}

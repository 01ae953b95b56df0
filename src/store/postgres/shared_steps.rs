//! The steps of [`crate::store::shared_script`], in the SQL of this store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use breaker::Key;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::steps::PostgresTransaction;
use super::write_transaction::column;
use super::{probe_rows, row_locks};
use crate::store::StoreError;
use crate::store::columns::Reader;
use crate::store::judge::probes::ProbeRows;
use crate::store::rows::BreakerRow;
use crate::store::shared_script::{SharedTransaction, StoredProbes, StoredRows};
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;

/// A breaker's row beside the store's timeline; none: there is no such row, and a row of the answer for the timeline alone.
struct TimelineRow {
    timeline: i64,
    breaker: Option<BreakerRow>,
    episode: Option<String>,
}

impl FromRow<'_, PgRow> for TimelineRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            timeline: row.try_get("timeline")?,
            breaker: joined_breaker(row)?,
            episode: row.try_get("episode")?,
        })
    }
}

/// The row of `breaker` that an outer join found; none: it found none.
pub(super) fn joined_breaker(row: &PgRow) -> Result<Option<BreakerRow>, sqlx::Error> {
    let service: Option<String> = row.try_get("service")?;
    service.map(|_| BreakerRow::from_row(row)).transpose()
}

#[async_trait]
impl SharedTransaction for PostgresTransaction<'_> {
    async fn lock_breakers(&mut self, keys: &[&Key]) -> Result<Timestamp, StoreError> {
        let locked = row_locks::lock_breakers(&mut self.tx, self.lock, keys).await?;
        self.locked = Some(locked.keys);
        Ok(locked.now)
    }

    /// A row that was inserted after the others were locked is not locked, and is left out: nothing may be decided by it.
    async fn read_stored<'a>(&mut self, keys: &[&'a Key]) -> Result<StoredRows<'a>, StoreError> {
        let act = "read the breakers";
        let wanted: Vec<&'a Key> = keys
            .iter()
            .copied()
            .filter(|key| self.locked.as_ref().is_none_or(|locked| locked.contains(*key)))
            .collect();
        let rows: Vec<TimelineRow> = sqlx::query_as(
            "SELECT timeline, service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us,
                    override_actor, override_reason, override_expires_at, override_scope, override_ttl_us,
                    permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                    config_revision, revision, entered_by, episode
             FROM meta LEFT JOIN (
                 breaker JOIN unnest($1::text[], $2::text[]) AS wanted (service, name) USING (service, name)
             ) ON true",
        )
        .bind(column(&wanted, |key| &**key.service()))
        .bind(column(&wanted, |key| &**key.name()))
        .fetch_all(&mut *self.tx)
        .await
        .map_err(fault(act))?;
        let reader = Reader { act, row: "meta" };
        let mut stored = StoredRows { timeline: 0, rows: BTreeMap::new(), unreadable: BTreeMap::new() };
        for TimelineRow { timeline, breaker, episode } in rows {
            stored.timeline = reader.number("timeline", timeline)?;
            let Some(breaker) = breaker else { continue };
            let place = (breaker.service.as_str(), breaker.name.as_str());
            let Ok(index) = wanted.binary_search_by_key(&place, |key| (&**key.service(), &**key.name()))
            else {
                continue;
            };
            let key = wanted[index];
            match breaker.readable(episode.as_deref()) {
                Ok(breaker) => drop(stored.rows.insert(key, breaker)),
                Err(error) => drop(stored.unreadable.insert(key, error.to_string())),
            }
        }
        Ok(stored)
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
}

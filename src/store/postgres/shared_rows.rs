//! Rows of breakers in a transaction of several replicas: read once, and known from then on.
//!
//! Nobody else changes a row that this transaction has locked, and what it writes itself it knows.

use std::collections::{BTreeMap, BTreeSet};

use breaker::Key;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, Row};

use super::write_transaction::{Write, column};
use crate::store::columns::Reader;
use crate::store::history::Bumped;
use crate::store::judge::{BreakerState, Judgement};
use crate::store::rows::{BesideRow, BreakerRow};
use crate::store::shared_script::StoredRows;
use crate::store::sqlx_error::fault;
use crate::store::{ChangeId, StoreError, StoredBreaker};

const ACT: &str = "read the breakers";

/// Rows that were read, and what was written of them.
#[derive(Default)]
pub(super) struct SharedRows {
    timeline: u32,
    newest: ChangeId,
    let_go_epoch: u64,
    /// Breakers that were asked about, whether they have a row or not.
    read: BTreeSet<Key>,
    /// With the revision of each.
    rows: BTreeMap<Key, (u64, BreakerState)>,
    /// Those that cannot be read, and why.
    unreadable: BTreeMap<Key, StoreError>,
}

/// Whether rows are locked by the statement that reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locks {
    /// In the order of their keys. Nobody may insert any: the revision's row is locked.
    Now,
    /// They are locked already.
    Before,
}

/// A breaker's row beside the store's timeline; none: there is no such row, and a row of the answer for the timeline alone.
struct TimelineRow {
    timeline: i64,
    timeline_revision: i64,
    newest: i64,
    newest_nonce: Option<i64>,
    let_go_epoch: i64,
    breaker: Option<(BreakerRow, BesideRow)>,
}

impl FromRow<'_, PgRow> for TimelineRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let breaker = joined_breaker(row)?.map(|breaker| Ok((breaker, BesideRow::from_row(row)?)));
        Ok(Self {
            timeline: row.try_get("timeline")?,
            timeline_revision: row.try_get("timeline_revision")?,
            newest: row.try_get("newest")?,
            newest_nonce: row.try_get("newest_nonce")?,
            let_go_epoch: row.try_get("let_go_epoch")?,
            breaker: breaker.transpose().map_err(|error: sqlx::Error| error)?,
        })
    }
}

/// The row of `breaker` that an outer join found; none: it found none.
pub(super) fn joined_breaker(row: &PgRow) -> Result<Option<BreakerRow>, sqlx::Error> {
    let service: Option<String> = row.try_get("service")?;
    service.map(|_| BreakerRow::from_row(row)).transpose()
}

impl SharedRows {
    /// Reads those that are not known yet.
    pub(super) async fn read(
        &mut self,
        tx: &mut Write,
        keys: &[&Key],
        locks: Locks,
    ) -> Result<(), StoreError> {
        if keys.iter().all(|key| self.read.contains(*key)) && !self.read.is_empty() {
            return Ok(());
        }
        // A locked row is read as it is once it is locked.
        let lock = match locks {
            Locks::Now => "ORDER BY breaker.service, breaker.name FOR NO KEY UPDATE OF breaker",
            Locks::Before => "",
        };
        let statement = format!(
            "SELECT timeline, timeline_revision, let_go_epoch, (SELECT n FROM revision LIMIT 1) AS newest,
                    (SELECT nonce FROM change WHERE rev = (SELECT n FROM revision LIMIT 1)) AS newest_nonce, present.*
             FROM meta LEFT JOIN (
                 SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us,
                        override_actor, override_reason, override_expires_at, override_scope, override_ttl_us,
                        permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                        config_revision, revision, entered_by, episode, act_epoch, first_probe_at,
                        reconciled_epoch
                 FROM breaker JOIN unnest($1::text[], $2::text[]) AS wanted (service, name) USING (service, name)
                 {lock}
             ) AS present ON true"
        );
        let rows: Vec<TimelineRow> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(column(keys, |key| &**key.service()))
            .bind(column(keys, |key| &**key.name()))
            .fetch_all(&mut **tx)
            .await
            .map_err(fault(ACT))?;
        let reader = Reader { act: ACT, row: "meta" };
        self.read.extend(keys.iter().copied().cloned());
        for row in rows {
            let TimelineRow { timeline, timeline_revision, newest, newest_nonce, let_go_epoch, breaker } =
                row;
            self.let_go_epoch = reader.number("let_go_epoch", let_go_epoch)?;
            self.timeline = reader.number("timeline", timeline)?;
            let nonce = newest_nonce.map_or(0, i64::cast_unsigned);
            self.newest = ChangeId { revision: newest.unsigned_abs(), nonce };
            let Some((breaker, beside)) = breaker else { continue };
            let Ok(key) = Key::new(&breaker.service, &breaker.name) else { continue };
            let revision = breaker.revision.unsigned_abs();
            match breaker.state(&beside) {
                Ok(state) => {
                    let state = state.in_timeline_since(timeline_revision.unsigned_abs(), revision);
                    self.rows.insert(key, (revision, state));
                }
                Err(error) => drop(self.unreadable.insert(key, error)),
            }
        }
        Ok(())
    }

    /// Those of these breakers that have a row, for the judge. One that cannot be read is an error.
    pub(super) fn present<'a>(
        &mut self,
        keys: &[&'a Key],
    ) -> Result<BTreeMap<&'a Key, BreakerState>, StoreError> {
        let mut present = BTreeMap::new();
        for key in keys {
            if let Some(error) = self.unreadable.remove(*key) {
                return Err(error);
            }
            present.extend(self.rows.get(*key).map(|(_, state)| (*key, state.clone())));
        }
        Ok(present)
    }

    /// The timeline of the store. Some were read.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline
    }

    /// As [`crate::store::judge::LockedRows::let_go_epoch`]. Some were read.
    pub(super) fn let_go_epoch(&self) -> u64 {
        self.let_go_epoch
    }

    /// What was decided is written with this change.
    pub(super) fn write(&mut self, judgement: &Judgement<'_>, bumped: Bumped) {
        self.newest = bumped.change();
        let revision = bumped.revision;
        for (key, state) in &judgement.changed {
            let state = BreakerState { is_stored: true, ..state.clone() };
            self.rows.insert(Key::clone(key), (revision.unsigned_abs(), state));
        }
    }

    /// As they are now.
    pub(super) fn stored<'a>(&self, keys: &[&'a Key]) -> StoredRows<'a> {
        let stored = |key: &&'a Key| {
            let (revision, state) = self.rows.get(*key)?;
            let BreakerState { snapshot, entered_by, decided_by, .. } = state.clone();
            let (key_of, revision) = (Key::clone(key), *revision);
            Some((*key, StoredBreaker { key: key_of, snapshot, entered_by, decided_by, revision }))
        };
        let unreadable = |key: &&'a Key| Some((*key, self.unreadable.get(*key)?.to_string()));
        StoredRows {
            timeline: self.timeline,
            newest: self.newest,
            rows: keys.iter().filter_map(stored).collect(),
            unreadable: keys.iter().filter_map(unreadable).collect(),
        }
    }
}

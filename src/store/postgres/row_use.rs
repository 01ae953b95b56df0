//! Which rows of breakers replicas use: the column `breaker.used_at`. See [`crate::store::SharedStore::use_rows`].

use breaker::{Key, RowVersion};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, FromRow};

use super::lock::Lock;
use super::row_locks::lock_breakers;
use super::server_timeline::{IS_CHECKED_UNLESS_STANDBY, unchecked};
use super::shared_rows::joined_breaker;
use super::write_transaction::{begin_shared, column};
use crate::store::columns::{Reader, bigint, micros};
use crate::store::rows::{BreakerRow, old_breaker};
use crate::store::shared_script::{changed_row, no_row};
use crate::store::shared_store::USE_SAID_EVERY;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::{ChangedRow, StoreError};

const ACT: &str = "say which breakers are used";

/// A breaker that was asked about, whose row is another one than the replica knows.
struct OtherRow {
    now: Timestamp,
    timeline: i64,
    newest: i64,
    /// None: the server is a standby.
    is_checked: Option<bool>,
    /// None: a row of the answer for the position alone.
    wanted: Option<(String, String)>,
    /// None: it has no row.
    breaker: Option<BreakerRow>,
}

impl FromRow<'_, PgRow> for OtherRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        let service: Option<String> = row.try_get("wanted_service")?;
        let name: Option<String> = row.try_get("wanted_name")?;
        Ok(Self {
            now: row.try_get("now")?,
            timeline: row.try_get("timeline")?,
            newest: row.try_get("newest")?,
            is_checked: row.try_get("is_checked")?,
            wanted: service.zip(name),
            breaker: joined_breaker(row)?,
        })
    }
}

/// Says so, for those of which nobody did lately. Only their rows are locked.
pub(super) async fn note_use(
    (reads, writes): (&PgPool, &PgPool),
    lock: &Lock,
    used: &[(Key, u64)],
) -> Result<(), StoreError> {
    let due: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT service, name, epoch FROM breaker JOIN unnest($1::text[], $2::text[]) AS wanted (service, name)
             USING (service, name)
         WHERE used_at < clock_timestamp() - $3 * interval '1 microsecond'",
    )
    .bind(column(used, |(key, _)| &**key.service()))
    .bind(column(used, |(key, _)| &**key.name()))
    .bind(micros(USE_SAID_EVERY))
    .fetch_all(reads)
    .await
    .map_err(fault(ACT))?;
    if due.is_empty() {
        return Ok(());
    }
    let due = due.into_iter().map(|(service, name, epoch)| Ok(old_breaker(&service, &name, epoch)?.0));
    let due: Vec<Key> = due.collect::<Result<_, StoreError>>()?;
    let mut tx = begin_shared(writes).await?;
    lock_breakers(&mut tx, lock, &due.iter().collect::<Vec<_>>()).await?;
    sqlx::query(
        "UPDATE breaker SET used_at = clock_timestamp()
         FROM unnest($1::text[], $2::text[]) AS wanted (service, name)
         WHERE breaker.service = wanted.service AND breaker.name = wanted.name
             AND used_at < clock_timestamp() - $3 * interval '1 microsecond'",
    )
    .bind(column(&due, |key| &**key.service()))
    .bind(column(&due, |key| &**key.name()))
    .bind(micros(USE_SAID_EVERY))
    .execute(&mut *tx)
    .await
    .map_err(fault(ACT))?;
    tx.commit(ACT).await
}

/// Those whose rows have other epochs than the replica knows, or were let go of. A row that is missing for no such reason is one that
/// the store lost when it went back, which the tail finds out. One statement: the version of one that is not there
/// is that of the newest change. None: on a standby.
pub(super) async fn other_rows(
    pool: &PgPool,
    used: &[(Key, u64)],
) -> Result<Option<Vec<ChangedRow>>, StoreError> {
    let statement = format!(
        "SELECT clock_timestamp() AS now, (SELECT timeline FROM meta) AS timeline, n AS newest,
                {IS_CHECKED_UNLESS_STANDBY} AS is_checked, other.*
         FROM (SELECT n FROM revision LIMIT 1) AS revision LEFT JOIN (
             SELECT wanted_service, wanted_name, present.*
             FROM unnest($1::text[], $2::text[], $3::bigint[]) AS wanted (wanted_service, wanted_name, known_epoch)
             LEFT JOIN (
                 SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us,
                        override_actor, override_reason, override_expires_at, override_scope, override_ttl_us,
                        permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                        config_revision, revision, entered_by
                 FROM breaker
             ) AS present ON service = wanted_service AND name = wanted_name
             WHERE epoch IS DISTINCT FROM nullif(known_epoch, 0)
                 AND (epoch IS NOT NULL OR known_epoch <= (SELECT let_go_epoch FROM meta))
         ) AS other ON true"
    );
    let rows: Vec<OtherRow> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(column(used, |(key, _)| &**key.service()))
        .bind(column(used, |(key, _)| &**key.name()))
        .bind(used.iter().map(|(_, epoch)| bigint(ACT, "epoch", *epoch)).collect::<Result<Vec<_>, _>>()?)
        .fetch_all(pool)
        .await
        .map_err(fault(ACT))?;
    let mut others = Vec::new();
    let reader = Reader { act: ACT, row: "meta" };
    for OtherRow { now, timeline, newest, is_checked, wanted, breaker } in rows {
        match is_checked {
            None => return Ok(None),
            Some(false) => return Err(unchecked(ACT)),
            Some(true) => {}
        }
        let timeline = reader.number("timeline", timeline)?;
        let version = RowVersion { timeline, revision: newest.unsigned_abs() };
        let Some((service, name)) = wanted else { continue };
        match breaker.map(BreakerRow::breaker) {
            Some(Ok(stored)) => others.push(changed_row(stored, timeline, now.0)),
            // As it is in the tail, which says so.
            Some(Err(_)) => {}
            None => others.push(no_row(old_breaker(&service, &name, 0)?.0, version, now.0)),
        }
    }
    Ok(Some(others))
}

//! Letting go of what is older than it is to be kept, and making room for what comes.
//!
//! The history is partitioned by month. The partitions of the coming months are made ahead; one that lies wholly
//! before what is to be kept is dropped, which costs the same however many rows it has. What has no partition, because a
//! clock was far off, stands in the default one, and goes row by row. Months, because a retention is
//! commonly some of them, and a plan that looks at a few dozen partitions costs nothing; so the history is kept for
//! up to a month longer than asked.

use breaker::{Key, Time};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, FromRow};

use super::lock::Lock;
use super::probe_rows;
use super::row_locks::lock_breakers;
use super::write_transaction::{Write, begin, begin_under, lock_revision};
use crate::store::columns::micros;
use crate::store::rows::old_breaker;
use crate::store::shared_store::UNUSED_ROWS_KEPT;
use crate::store::sqlx_error::fault;
use crate::store::timeline_store::NONCES_KEPT;
use crate::store::timestamp::Timestamp;
use crate::store::transition_store::PRUNED_ROWS_MAX;
use crate::store::{Pruned, Retention, StoreError};

const ACT: &str = "delete expired rows";
/// The key of the lock under which partitions are made and dropped.
const PARTITIONS_KEY: i64 = super::session::KEY ^ 2;

/// A month's partition, and whether it is there, or cannot be any more.
#[derive(FromRow)]
struct Month {
    name: String,
    begins: String,
    ends: String,
    is_there: bool,
}

#[derive(FromRow)]
struct Gone {
    rows: i64,
    newest: Option<i64>,
}

/// See [`crate::store::TransitionStore::prune`].
pub(super) async fn prune(pool: &PgPool, retention: Retention) -> Result<Pruned, StoreError> {
    make_room(pool).await?;
    let before = Timestamp(retention.before);
    let mut transitions = drop_months(pool, before).await?;

    let mut tx = begin(pool).await?;
    let gone: Gone = sqlx::query_as(
        "WITH gone AS (
             DELETE FROM transition_default WHERE ctid IN (
                 SELECT ctid FROM transition_default WHERE recorded_at < $1 LIMIT $2
             ) RETURNING revision
         )
         SELECT count(*) AS rows, max(revision) AS newest FROM gone",
    )
    .bind(before)
    .bind(i64::from(PRUNED_ROWS_MAX))
    .fetch_one(&mut *tx)
    .await
    .map_err(fault(ACT))?;
    raise_floor(&mut tx, &gone).await?;
    tx.commit(ACT).await?;
    transitions += gone.rows.unsigned_abs();

    let mut tx = begin(pool).await?;
    let changes = delete(&mut tx, "DELETE FROM audit WHERE recorded_at < $1", before).await?;
    delete(
        &mut tx,
        "DELETE FROM config_request WHERE recorded_at < $1",
        Timestamp(retention.requests_before),
    )
    .await?;
    sqlx::query("DELETE FROM change WHERE recorded_at < $1 AND rev <= (SELECT max(rev) FROM change) - $2")
        .bind(before)
        .bind(i64::from(NONCES_KEPT))
        .execute(&mut *tx)
        .await
        .map_err(fault(ACT))?;
    tx.commit(ACT).await?;
    forget_services(pool, before).await?;
    prune_rows(
        pool,
        "DELETE FROM receipt WHERE ctid IN (SELECT ctid FROM receipt WHERE recorded_at < $1 LIMIT $2)",
        before,
    )
    .await?;
    prune_rows(
        pool,
        "DELETE FROM episode WHERE ctid IN (SELECT ctid FROM episode WHERE recorded_at < $1 LIMIT $2)",
        before,
    )
    .await?;
    prune_rows(
        pool,
        "DELETE FROM open_time WHERE ctid IN (
             SELECT ctid FROM open_time WHERE day < ($1 AT TIME ZONE 'UTC')::date LIMIT $2
         )",
        before,
    )
    .await?;
    probe_rows::prune(pool).await?;
    Ok(Pruned { transitions, changes })
}

/// There are as many of these as rows of history: some at a time, each within the time that a statement may take.
async fn prune_rows(pool: &PgPool, delete: &'static str, before: Timestamp) -> Result<(), StoreError> {
    loop {
        let mut tx = begin(pool).await?;
        let gone = sqlx::query(delete)
            .bind(before)
            .bind(i64::from(PRUNED_ROWS_MAX))
            .execute(&mut *tx)
            .await
            .map_err(fault(ACT))?;
        tx.commit(ACT).await?;
        if gone.rows_affected() < u64::from(PRUNED_ROWS_MAX) {
            return Ok(());
        }
    }
}

/// Forgets when services lost their configuration that have had none for so long.
async fn forget_services(pool: &PgPool, before: Timestamp) -> Result<(), StoreError> {
    let mut tx = begin(pool).await?;
    // A change of configuration takes this lock first, and then the rows of services.
    sqlx::query("SELECT FROM config_head FOR UPDATE").execute(&mut *tx).await.map_err(fault(ACT))?;
    sqlx::query(
        "WITH gone AS (
             DELETE FROM service_config
             WHERE layer IS NULL AND service <> '' AND changed_at < $1
               AND service NOT IN (SELECT service FROM service_override)
               AND service NOT IN (SELECT jsonb_object_keys(content -> 'services') FROM file_config)
             RETURNING revision
         )
         UPDATE config_head SET forgotten = greatest(forgotten, (SELECT max(revision) FROM gone))",
    )
    .bind(before)
    .execute(&mut *tx)
    .await
    .map_err(fault(ACT))?;
    tx.commit(ACT).await
}

/// Makes the partitions of this month and the coming ones, if they are not there. A month whose rows stand in the default
/// partition already cannot have one any more: so this is done before the first row is written, too.
pub(super) async fn make_room(pool: &PgPool) -> Result<(), StoreError> {
    let act = "create partitions of the history";
    let months: Vec<Month> = sqlx::query_as(
        "SELECT to_char(month, '\"transition_\"YYYY\"_\"MM') AS name,
                to_char(month, 'YYYY-MM-DD') AS begins,
                to_char(month + interval '1 month', 'YYYY-MM-DD') AS ends,
                to_regclass(to_char(month, '\"transition_\"YYYY\"_\"MM')) IS NOT NULL OR EXISTS (
                    SELECT 1 FROM transition_default
                    WHERE recorded_at >= month AT TIME ZONE 'UTC'
                      AND recorded_at < (month + interval '1 month') AT TIME ZONE 'UTC'
                ) AS is_there
         FROM generate_series(0, 2) AS n,
              LATERAL (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month') AS it (month)",
    )
    .fetch_all(pool)
    .await
    .map_err(fault(act))?;
    for month in months.into_iter().filter(|month| !month.is_there) {
        let Month { name, begins, ends, .. } = month;
        let mut tx = begin(pool).await?;
        lock_partitions(&mut tx).await?;
        let make_it = format!(
            "CREATE TABLE IF NOT EXISTS {name} PARTITION OF transition
             FOR VALUES FROM ('{begins} 00:00:00+00') TO ('{ends} 00:00:00+00')"
        );
        // Its parts are digits that Postgres itself has written.
        sqlx::query(AssertSqlSafe(make_it)).execute(&mut *tx).await.map_err(fault(act))?;
        tx.commit(act).await?;
    }
    Ok(())
}

/// Drops the partitions that lie wholly before what is to be kept. Answers how many rows they had.
async fn drop_months(pool: &PgPool, before: Timestamp) -> Result<u64, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT child.relname::text
         FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = 'transition'::regclass AND child.relname ~ '^transition_[0-9]{4}_[0-9]{2}$'
           AND (to_date(right(child.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= $1
         ORDER BY 1",
    )
    .bind(before)
    .fetch_all(pool)
    .await
    .map_err(fault(ACT))?;
    let mut rows = 0;
    for name in names {
        let look = format!("SELECT count(*) AS rows, max(revision) AS newest FROM {name}");
        // The name has the form of a month, as the query above says. Counting a month of millions may take longer than a
        // statement of a write may; nothing is written to a month that is over.
        let counted = sqlx::query_as(AssertSqlSafe(look)).fetch_one(pool).await.map_err(fault(ACT));
        let mut tx = begin(pool).await?;
        lock_partitions(&mut tx).await?;
        let is_there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(&name)
            .fetch_one(&mut *tx)
            .await
            .map_err(fault(ACT))?;
        if !is_there {
            continue;
        }
        let gone: Gone = counted?;
        raise_floor(&mut tx, &gone).await?;
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}")))
            .execute(&mut *tx)
            .await
            .map_err(fault(ACT))?;
        tx.commit(ACT).await?;
        rows += gone.rows.unsigned_abs();
    }
    Ok(rows)
}

/// Waits for another replica that makes or drops partitions, and keeps others from it until this transaction ends.
async fn lock_partitions(tx: &mut Write) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(PARTITIONS_KEY)
        .execute(&mut **tx)
        .await
        .map_err(fault("wait for another replica that changes the partitions of the history"))?;
    Ok(())
}

async fn raise_floor(tx: &mut Write, gone: &Gone) -> Result<(), StoreError> {
    let Some(newest) = gone.newest else { return Ok(()) };
    sqlx::query("UPDATE config_head SET history_floor = greatest(history_floor, $1)")
        .bind(newest)
        .execute(&mut **tx)
        .await
        .map_err(fault(ACT))?;
    Ok(())
}

async fn delete(tx: &mut Write, sql: &'static str, before: Timestamp) -> Result<u64, StoreError> {
    let done = sqlx::query(sql).bind(before).execute(&mut **tx).await.map_err(fault(ACT))?;
    Ok(done.rows_affected())
}

/// Which rows no replica uses: one that did would have said so. `$5` is for how long they are kept.
const IS_UNUSED: &str = "used_at < clock_timestamp() - $5 * interval '1 microsecond'";

/// See [`crate::store::TransitionStore::breakers_without_history`].
pub(super) async fn breakers_without_history(
    pool: &PgPool,
    lock: &Lock,
    before: Time,
    after: Option<&Key>,
    limit: u32,
) -> Result<Vec<(Key, u64)>, StoreError> {
    let (service, name) = after.map_or(("", ""), |key| (key.service(), key.name()));
    let statement = format!(
        "SELECT service, name, epoch FROM breaker
         WHERE state = 'CLOSED' AND epoch > 0 AND entered_at < $1 AND (service, name) > ($2, $3)
           AND ({IS_UNUSED} OR NOT $6) AND NOT EXISTS (
             SELECT 1 FROM transition
             WHERE transition.service = breaker.service AND transition.name = breaker.name
         )
         ORDER BY service, name
         LIMIT $4"
    );
    let rows: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(Timestamp(before))
        .bind(service)
        .bind(name)
        .bind(i64::from(limit))
        .bind(micros(UNUSED_ROWS_KEPT))
        .bind(lock.is_shared())
        .fetch_all(pool)
        .await
        .map_err(fault("find expired breakers"))?;
    rows.into_iter().map(|(service, name, epoch)| old_breaker(&service, &name, epoch)).collect()
}

/// See [`crate::store::TransitionStore::delete_breakers`].
pub(super) async fn delete_breakers(
    pool: &PgPool,
    lock: &Lock,
    breakers: &[(Key, u64)],
) -> Result<Vec<Key>, StoreError> {
    let act = "delete expired breakers";
    let (mut services, mut names, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for (key, epoch) in breakers {
        services.push(&**key.service());
        names.push(&**key.name());
        epochs.push(i64::try_from(*epoch).unwrap_or(i64::MAX));
    }
    let mut tx = begin_under(pool, lock).await?;
    lock_revision(&mut tx, lock).await?;
    let keys: Vec<_> = breakers.iter().map(|(key, _)| key).collect();
    lock_breakers(&mut tx, lock, &keys).await?;
    // A replica may have said that it uses one since they were listed.
    let statement = format!(
        "WITH gone AS (
             DELETE FROM breaker USING unnest($1::text[], $2::text[], $3::bigint[]) AS listed (service, name, epoch)
             WHERE breaker.service = listed.service AND breaker.name = listed.name AND breaker.epoch = listed.epoch
               AND state = 'CLOSED' AND ({IS_UNUSED} OR NOT $4)
             RETURNING breaker.service, breaker.name, breaker.epoch
         ), noted AS (
             UPDATE meta SET let_go_epoch = (SELECT max(epoch) FROM gone)
             WHERE let_go_epoch < (SELECT max(epoch) FROM gone)
         )
         SELECT service, name, epoch FROM gone"
    );
    let rows: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(services)
        .bind(names)
        .bind(epochs)
        .bind(lock.is_shared())
        .bind(micros(UNUSED_ROWS_KEPT))
        .fetch_all(&mut *tx)
        .await
        .map_err(fault(act))?;
    tx.commit(act).await?;
    rows.into_iter().map(|(service, name, epoch)| Ok(old_breaker(&service, &name, epoch)?.0)).collect()
}

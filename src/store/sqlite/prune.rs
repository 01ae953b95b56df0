//! Letting go of what is older than it is to be kept.

use breaker::{Key, Time};
use sqlx::SqlitePool;

use super::write_transaction::{Write, begin};
use crate::store::rows::old_breaker;
use crate::store::sqlx_error::fault;
use crate::store::timeline_store::NONCES_KEPT;
use crate::store::timestamp::Timestamp;
use crate::store::transition_store::PRUNED_ROWS_MAX;
use crate::store::{Pruned, Retention, StoreError};

/// See [`crate::store::TransitionStore::prune`].
pub(super) async fn prune(writer: &SqlitePool, retention: Retention) -> Result<Pruned, StoreError> {
    let act = "delete expired rows";
    let before = Timestamp(retention.before);
    let mut tx = begin(writer).await?;
    // The history is in the order of its revisions, and so, but for a clock that was set, in that of its times: what is
    // old is at its beginning.
    let newest: Option<i64> = sqlx::query_scalar(
        "SELECT max(revision) FROM (
             SELECT revision, recorded_at_us FROM transition ORDER BY revision, number LIMIT $2
         ) WHERE recorded_at_us < $1",
    )
    .bind(before)
    .bind(i64::from(PRUNED_ROWS_MAX))
    .fetch_one(&mut *tx)
    .await
    .map_err(fault(act))?;
    let mut transitions = 0;
    if let Some(newest) = newest {
        // A revision goes as a whole. One that is not old stays, even before one of a clock that was behind.
        let deleted = sqlx::query("DELETE FROM transition WHERE revision <= $1 AND recorded_at_us < $2")
            .bind(newest)
            .bind(before)
            .execute(&mut *tx)
            .await
            .map_err(fault(act))?;
        transitions = deleted.rows_affected();
        sqlx::query("UPDATE config_head SET history_floor = max(history_floor, $1)")
            .bind(newest)
            .execute(&mut *tx)
            .await
            .map_err(fault(act))?;
    }
    let changes = delete(&mut tx, "DELETE FROM audit WHERE recorded_at_us < $1", before).await?;
    delete(
        &mut tx,
        "DELETE FROM config_request WHERE recorded_at_us < $1",
        Timestamp(retention.requests_before),
    )
    .await?;
    sqlx::query("DELETE FROM change WHERE recorded_at_us < $1 AND rev <= (SELECT max(rev) FROM change) - $2")
        .bind(before)
        .bind(i64::from(NONCES_KEPT))
        .execute(&mut *tx)
        .await
        .map_err(fault(act))?;
    forget_services(&mut tx, before).await?;
    tx.commit(act).await?;
    prune_rows(
        writer,
        "DELETE FROM receipt WHERE (replica, boot, first_seq) IN (
             SELECT replica, boot, first_seq FROM receipt WHERE recorded_at_us < $1 LIMIT $2
         )",
        before,
    )
    .await?;
    prune_rows(
        writer,
        "DELETE FROM episode WHERE (revision, number) IN (
             SELECT revision, number FROM (
                 SELECT revision, number, recorded_at_us FROM episode ORDER BY revision, number LIMIT $2
             ) WHERE recorded_at_us < $1
         )",
        before,
    )
    .await?;
    prune_rows(
        writer,
        "DELETE FROM open_time WHERE (day, service, name) IN (
             SELECT day, service, name FROM open_time WHERE day < $1 / 86400000000 LIMIT $2
         )",
        before,
    )
    .await?;
    Ok(Pruned { transitions, changes })
}

/// There are as many of these as rows of history: some at a time, so that whoever writes has its turn between them.
async fn prune_rows(writer: &SqlitePool, delete: &'static str, before: Timestamp) -> Result<(), StoreError> {
    let act = "delete expired rows";
    loop {
        let mut tx = begin(writer).await?;
        let gone = sqlx::query(delete)
            .bind(before)
            .bind(i64::from(PRUNED_ROWS_MAX))
            .execute(&mut *tx)
            .await
            .map_err(fault(act))?;
        tx.commit(act).await?;
        if gone.rows_affected() < u64::from(PRUNED_ROWS_MAX) {
            return Ok(());
        }
    }
}

/// Forgets when services lost their configuration that have had none for so long.
async fn forget_services(tx: &mut Write, before: Timestamp) -> Result<(), StoreError> {
    let act = "delete expired rows";
    let revisions: Vec<i64> = sqlx::query_scalar(
        "DELETE FROM service_config
         WHERE layer IS NULL AND service <> '' AND changed_at_us < $1
           AND service NOT IN (SELECT service FROM service_override)
           AND service NOT IN (SELECT key FROM file_config, json_each(content, '$.services'))
         RETURNING revision",
    )
    .bind(before)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(act))?;
    if let Some(newest) = revisions.into_iter().max() {
        sqlx::query("UPDATE config_head SET forgotten = max(forgotten, $1)")
            .bind(newest)
            .execute(&mut **tx)
            .await
            .map_err(fault(act))?;
    }
    Ok(())
}

async fn delete(tx: &mut Write, sql: &'static str, before: Timestamp) -> Result<u64, StoreError> {
    let done =
        sqlx::query(sql).bind(before).execute(&mut **tx).await.map_err(fault("delete expired rows"))?;
    Ok(done.rows_affected())
}

/// See [`crate::store::TransitionStore::breakers_without_history`].
pub(super) async fn breakers_without_history(
    readers: &SqlitePool,
    before: Time,
    after: Option<&Key>,
    limit: u32,
) -> Result<Vec<(Key, u64)>, StoreError> {
    let (service, name) = after.map_or(("", ""), |key| (key.service(), key.name()));
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT service, name, epoch FROM breaker
         WHERE state = 'CLOSED' AND entered_at_us < $1 AND (service, name) > ($2, $3) AND NOT EXISTS (
             SELECT 1 FROM transition
             WHERE transition.service = breaker.service AND transition.name = breaker.name
         )
         ORDER BY service, name
         LIMIT $4",
    )
    .bind(Timestamp(before))
    .bind(service.to_owned())
    .bind(name.to_owned())
    .bind(limit)
    .fetch_all(readers)
    .await
    .map_err(fault("look for old breakers"))?;
    rows.into_iter().map(|(service, name, epoch)| old_breaker(&service, &name, epoch)).collect()
}

/// See [`crate::store::TransitionStore::delete_breakers`].
pub(super) async fn delete_breakers(
    writer: &SqlitePool,
    breakers: &[(Key, u64)],
) -> Result<Vec<Key>, StoreError> {
    let act = "delete old breakers";
    let mut tx = begin(writer).await?;
    let list = breakers.iter().map(|(key, epoch)| (&**key.service(), &**key.name(), *epoch));
    let list: serde_json::Value =
        list.map(|(service, name, epoch)| serde_json::json!([service, name, epoch])).collect();
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "DELETE FROM breaker
         WHERE state = 'CLOSED' AND (service, name, epoch) IN (
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)
         )
         RETURNING service, name, epoch",
    )
    .bind(list.to_string())
    .fetch_all(&mut *tx)
    .await
    .map_err(fault(act))?;
    tx.commit(act).await?;
    rows.into_iter().map(|(service, name, epoch)| Ok(old_breaker(&service, &name, epoch)?.0)).collect()
}

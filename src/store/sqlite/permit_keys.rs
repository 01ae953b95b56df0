//! The keys of permits. One process has this store: it has every key that it has read.

use sqlx::SqlitePool;

use super::write_transaction::Write;
use crate::store::StoreError;
use crate::store::history::Bumped;
use crate::store::permit_key_rows::{ADVANCE_ACT, FIRST_KEY_ACT, PermitKeyRow, PresentKey, kept_micros};
use crate::store::permit_key_store::PermitKey;
use crate::store::sqlx_error::fault;

/// See [`crate::store::PermitKeyStore::permit_keys`].
pub(super) async fn read(readers: &SqlitePool) -> Result<Vec<PermitKey>, StoreError> {
    let rows: Vec<PermitKeyRow> = sqlx::query_as(
        "SELECT number, secret, now.us - created_at_us AS age_us, now.us - seals_since_us AS sealing_us
         FROM permit_key CROSS JOIN (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS us) AS now
         ORDER BY number",
    )
    .fetch_all(readers)
    .await
    .map_err(fault("read the permit keys"))?;
    rows.into_iter().map(PermitKeyRow::key).collect()
}

/// See [`crate::store::PermitKeyStore::advance_permit_keys`].
pub(super) async fn advance(writer: &SqlitePool, held: u32) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE permit_key SET seals_since_us = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
         WHERE number = $1 AND seals_since_us IS NULL
             AND NOT EXISTS (SELECT 1 FROM permit_key AS newer WHERE newer.number > $1)",
    )
    .bind(i64::from(held))
    .execute(writer)
    .await
    .map_err(fault(ADVANCE_ACT))?;
    sqlx::query(
        "DELETE FROM permit_key WHERE EXISTS (
             SELECT 1 FROM permit_key AS newer WHERE newer.number > permit_key.number
                 AND newer.seals_since_us < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - $1
         )",
    )
    .bind(kept_micros())
    .execute(writer)
    .await
    .map_err(fault(ADVANCE_ACT))?;
    Ok(())
}

/// Gives a store its first key, which its identity has; one that has a key keeps it.
pub(super) async fn make_first(writer: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO permit_key (number, secret, created_at_us, seals_since_us)
         SELECT 1, permit_key, created_at_us, created_at_us FROM meta WHERE NOT EXISTS (SELECT 1 FROM permit_key)",
    )
    .execute(writer)
    .await
    .map_err(fault(FIRST_KEY_ACT))?;
    Ok(())
}

/// See [`crate::store::script::WriteTransaction::present_permit_keys`].
pub(super) async fn present(tx: &mut Write) -> Result<Vec<PresentKey>, StoreError> {
    sqlx::query_as("SELECT number, seals_since_us IS NOT NULL AS seals FROM permit_key ORDER BY number")
        .fetch_all(&mut **tx)
        .await
        .map_err(fault("read the permit keys"))
}

/// See [`crate::store::script::WriteTransaction::write_permit_key`].
pub(super) async fn write(
    tx: &mut Write,
    number: i64,
    secret: &[u8; 16],
    bumped: Bumped,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO permit_key (number, secret, created_at_us) VALUES ($1, $2, $3)")
        .bind(number)
        .bind(secret.as_slice())
        .bind(bumped.recorded_at)
        .execute(&mut **tx)
        .await
        .map_err(fault("write a permit key"))?;
    Ok(())
}

//! The keys of permits.

use sqlx::postgres::{PgConnection, PgPool};

use super::write_transaction::Write;
use crate::store::StoreError;
use crate::store::history::Bumped;
use crate::store::permit_key_rows::{ADVANCE_ACT, FIRST_KEY_ACT, PermitKeyRow, PresentKey, kept_micros};
use crate::store::permit_key_store::PermitKey;
use crate::store::sqlx_error::fault;

/// See [`crate::store::PermitKeyStore::permit_keys`].
pub(super) async fn read(pool: &PgPool) -> Result<Vec<PermitKey>, StoreError> {
    let rows: Vec<PermitKeyRow> = sqlx::query_as(
        "SELECT number, secret, (extract(epoch FROM clock_timestamp() - created_at) * 1000000)::bigint AS age_us,
                (extract(epoch FROM clock_timestamp() - seals_since) * 1000000)::bigint AS sealing_us
         FROM permit_key ORDER BY number",
    )
    .fetch_all(pool)
    .await
    .map_err(fault("read the permit keys"))?;
    rows.into_iter().map(PermitKeyRow::key).collect()
}

/// See [`crate::store::PermitKeyStore::advance_permit_keys`].
pub(super) async fn advance(pool: &PgPool, held: u32) -> Result<(), StoreError> {
    // A release that knows one key has 0 in its row.
    sqlx::query(
        "UPDATE permit_key SET seals_since = clock_timestamp()
         WHERE number = $1 AND seals_since IS NULL
             AND NOT EXISTS (SELECT FROM permit_key AS newer WHERE newer.number > $1)
             AND NOT EXISTS (
                 SELECT FROM replica WHERE seen_at > clock_timestamp() - interval '3 seconds' AND permit_key < $1
             )",
    )
    .bind(i64::from(held))
    .execute(pool)
    .await
    .map_err(fault(ADVANCE_ACT))?;
    sqlx::query(
        "DELETE FROM permit_key AS old WHERE EXISTS (
             SELECT FROM permit_key AS newer WHERE newer.number > old.number
                 AND newer.seals_since < clock_timestamp() - $1 * interval '1 microsecond'
         )",
    )
    .bind(kept_micros())
    .execute(pool)
    .await
    .map_err(fault(ADVANCE_ACT))?;
    Ok(())
}

/// Gives a store its first key, which its identity has; one that has a key keeps it.
pub(super) async fn make_first(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO permit_key (number, secret, created_at, seals_since)
         SELECT 1, permit_key, created_at, created_at FROM meta WHERE NOT EXISTS (SELECT FROM permit_key)
         ON CONFLICT DO NOTHING",
    )
    .execute(connection)
    .await
    .map_err(fault(FIRST_KEY_ACT))?;
    Ok(())
}

/// See [`crate::store::script::WriteTransaction::present_permit_keys`].
pub(super) async fn present(tx: &mut Write) -> Result<Vec<PresentKey>, StoreError> {
    sqlx::query_as("SELECT number, seals_since IS NOT NULL AS seals FROM permit_key ORDER BY number")
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
    sqlx::query("INSERT INTO permit_key (number, secret, created_at) VALUES ($1, $2, $3)")
        .bind(number)
        .bind(secret.as_slice())
        .bind(bumped.recorded_at)
        .execute(&mut **tx)
        .await
        .map_err(fault("write a permit key"))?;
    Ok(())
}

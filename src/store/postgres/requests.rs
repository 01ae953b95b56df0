//! The ids that clients gave their changes.

use sqlx::postgres::{PgExecutor, PgPool};
use sqlx::{FromRow, Postgres};

use super::write_transaction::{Write, begin};
use crate::store::config_rows::RequestRow;
use crate::store::history::Bumped;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::{ConfigWritten, RequestId, StoreError};

/// See [`crate::store::ConfigStore::request`].
pub(super) async fn find(
    reader: impl PgExecutor<'_>,
    request: &RequestId,
) -> Result<Option<ConfigWritten>, StoreError> {
    let known =
        sqlx::query_as::<Postgres, RequestRow>("SELECT digest, revision FROM config_request WHERE id = $1")
            .bind(&request.id)
            .fetch_optional(reader)
            .await
            .map_err(fault("read an idempotency record"))?;
    known.map(|known| known.answer(request)).transpose()
}

#[derive(FromRow)]
struct NowRow {
    revision: i64,
    now: Timestamp,
}

/// See [`crate::store::ConfigStore::keep_request`].
pub(super) async fn keep(pool: &PgPool, request: &RequestId) -> Result<(), StoreError> {
    let act = "write an idempotency record";
    let mut tx = begin(pool).await?;
    let now: NowRow = sqlx::query_as("SELECT revision, clock_timestamp() AS now FROM config_head")
        .fetch_one(&mut *tx)
        .await
        .map_err(fault(act))?;
    let made = Bumped { revision: now.revision, recorded_at: now.now, nonce: 0 };
    write(&mut tx, request, made).await?;
    tx.commit(act).await
}

/// Writes the id beside the change that was made under it.
pub(super) async fn write(tx: &mut Write, request: &RequestId, made: Bumped) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO config_request (id, digest, revision, recorded_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&request.id)
    .bind(request.digest.cast_signed())
    .bind(made.revision)
    .bind(made.recorded_at)
    .execute(&mut **tx)
    .await
    .map_err(fault("write an idempotency record"))?;
    Ok(())
}

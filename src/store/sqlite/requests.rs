//! The ids that clients gave their changes.

use sqlx::{Sqlite, SqliteExecutor, SqlitePool};

use super::write_transaction::{Write, begin, clock};
use crate::store::config_rows::RequestRow;
use crate::store::history::Bumped;
use crate::store::sqlx_error::fault;
use crate::store::{ConfigWritten, RequestId, StoreError};

/// See [`crate::store::ConfigStore::request`].
pub(super) async fn find(
    reader: impl SqliteExecutor<'_>,
    request: &RequestId,
) -> Result<Option<ConfigWritten>, StoreError> {
    let known =
        sqlx::query_as::<Sqlite, RequestRow>("SELECT digest, revision FROM config_request WHERE id = $1")
            .bind(&request.id)
            .fetch_optional(reader)
            .await
            .map_err(fault("look a request up"))?;
    known.map(|known| known.answer(request)).transpose()
}

/// See [`crate::store::ConfigStore::keep_request`].
pub(super) async fn keep(writer: &SqlitePool, request: &RequestId) -> Result<(), StoreError> {
    let act = "keep a request's id";
    let mut tx = begin(writer).await?;
    let revision = sqlx::query_scalar("SELECT revision FROM config_head")
        .fetch_one(&mut *tx)
        .await
        .map_err(fault(act))?;
    let recorded_at = clock(&mut tx).await?;
    write(&mut tx, request, Bumped { revision, recorded_at, nonce: 0 }).await?;
    tx.commit(act).await
}

/// Writes the id beside the change that was made under it.
pub(super) async fn write(tx: &mut Write, request: &RequestId, made: Bumped) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO config_request (id, digest, revision, recorded_at_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&request.id)
    .bind(request.digest.cast_signed())
    .bind(made.revision)
    .bind(made.recorded_at)
    .execute(&mut **tx)
    .await
    .map_err(fault("keep a request's id"))?;
    Ok(())
}

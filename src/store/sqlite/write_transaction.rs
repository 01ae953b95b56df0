//! The transaction that writes: the only writer from its first read on, and the revision that ends it.

use sqlx::{FromRow, Sqlite, SqlitePool};

use crate::store::StoreError;
use crate::store::history::Bumped;
use crate::store::rows::new_nonce;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::transaction::Transaction;

pub(super) type Write = Transaction<Sqlite>;

pub(super) async fn begin(writer: &SqlitePool) -> Result<Write, StoreError> {
    Transaction::begin(writer, "BEGIN IMMEDIATE").await
}

/// The time as the database has it, to the millisecond.
pub(super) async fn clock(tx: &mut Write) -> Result<Timestamp, StoreError> {
    sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)")
        .fetch_one(&mut **tx)
        .await
        .map_err(fault("ask the database's clock"))
}

/// The row of `revision`, bumped.
#[derive(FromRow)]
struct BumpedRow {
    n: i64,
    now: Timestamp,
}

/// The next revision, and its nonce for those who follow.
pub(super) async fn bump(tx: &mut Write) -> Result<Bumped, StoreError> {
    let act = "bump the revision";
    let row: BumpedRow = sqlx::query_as(
        "UPDATE revision SET n = n + 1 RETURNING n, CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now",
    )
    .fetch_one(&mut **tx)
    .await
    .map_err(fault(act))?;
    let nonce = new_nonce()?;
    sqlx::query("INSERT INTO change (rev, nonce, recorded_at_us) VALUES ($1, $2, $3)")
        .bind(row.n)
        .bind(nonce)
        .bind(row.now)
        .execute(&mut **tx)
        .await
        .map_err(fault(act))?;
    Ok(Bumped { revision: row.n, recorded_at: row.now, nonce })
}

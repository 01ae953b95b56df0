//! The transaction that writes: its timeouts, and the revision that ends it.

use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, FromRow, Postgres};

use super::lock::Lock;
use super::server_timeline::{IS_CHECKED, unchecked};
use crate::store::StoreError;
use crate::store::history::Bumped;
use crate::store::rows::new_nonce;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::transaction::Transaction;

pub(super) type Write = Transaction<Postgres>;

/// Timeouts for this transaction alone: under a pooler the session is not ours. The last one is for a process
/// that is stopped while it holds locks.
const BEGIN: &str = "BEGIN;
    SET LOCAL statement_timeout = '10s';
    SET LOCAL lock_timeout = '5s';
    SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// The same, beside those of other replicas: one that is stopped in between holds them up for a second, and no longer.
const BEGIN_SHARED: &str = "BEGIN;
    SET LOCAL statement_timeout = '10s';
    SET LOCAL lock_timeout = '5s';
    SET LOCAL idle_in_transaction_session_timeout = '1s'";

pub(super) async fn begin_shared(pool: &PgPool) -> Result<Write, StoreError> {
    Transaction::begin(pool, BEGIN_SHARED).await
}

pub(super) async fn begin(pool: &PgPool) -> Result<Write, StoreError> {
    Transaction::begin(pool, BEGIN).await
}

/// For what locks the revision: beside other replicas if there can be some.
pub(super) async fn begin_under(pool: &PgPool, lock: &Lock) -> Result<Write, StoreError> {
    if lock.is_shared() { begin_shared(pool).await } else { begin(pool).await }
}

/// The row of `revision`, bumped.
#[derive(FromRow)]
struct BumpedRow {
    n: i64,
    now: Timestamp,
}

/// The next revision, its nonce for those who follow, and a hint to them.
pub(super) async fn bump(tx: &mut Write, lock: &Lock) -> Result<Bumped, StoreError> {
    let nonce = new_nonce()?;
    let row: Option<BumpedRow> = sqlx::query_as(
        "WITH bumped AS (
             UPDATE revision SET n = n + 1 WHERE holder = $1 RETURNING n, clock_timestamp() AS now
         ), noted AS (
             INSERT INTO change (rev, nonce, recorded_at) SELECT n, $2, now FROM bumped
         )
         SELECT n, now FROM bumped CROSS JOIN LATERAL pg_notify('breakerd', n::text)",
    )
    .bind(lock.holder())
    .bind(nonce)
    .fetch_optional(&mut **tx)
    .await
    .map_err(fault("bump the revision"))?;
    let row = row.ok_or_else(|| lock.not_named("bump the revision"))?;
    Ok(Bumped { revision: row.n, recorded_at: row.now, nonce })
}

/// One column of many rows, for `unnest`.
pub(super) fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The row of `revision`, locked.
#[derive(Debug, Clone, Copy, FromRow)]
pub(super) struct LockedRevision {
    /// The newest revision.
    pub(super) n: i64,
    /// What time it was when it was locked.
    pub(super) now: Timestamp,
    is_checked: bool,
}

impl LockedRevision {
    /// The one that this transaction makes: nobody else can.
    pub(super) fn next(self) -> Result<Bumped, StoreError> {
        Ok(Bumped { revision: self.n + 1, recorded_at: self.now, nonce: new_nonce()? })
    }
}

/// Waits for whoever writes breakers, and keeps others from it until this transaction ends. Replicas write nothing on a server
/// whose timeline none of them has checked.
pub(super) async fn lock_revision(tx: &mut Write, lock: &Lock) -> Result<LockedRevision, StoreError> {
    let locked = lock_unchecked(tx, lock).await?;
    if locked.is_checked { Ok(locked) } else { Err(unchecked("lock the revision")) }
}

/// As [`lock_revision`], for who checks the timeline.
pub(super) async fn lock_unchecked(tx: &mut Write, lock: &Lock) -> Result<LockedRevision, StoreError> {
    let is_checked = if lock.is_shared() { IS_CHECKED } else { "true" };
    // In a query of its own, the lock is waited for before the clock is read.
    let lock_it = format!(
        "SELECT n, clock_timestamp() AS now, {is_checked} AS is_checked
         FROM (SELECT n FROM revision WHERE holder = $1 FOR UPDATE) AS locked"
    );
    let locked = sqlx::query_as(AssertSqlSafe(lock_it))
        .bind(lock.holder())
        .fetch_optional(&mut **tx)
        .await
        .map_err(fault("lock the revision"))?;
    locked.ok_or_else(|| lock.not_named("lock the revision"))
}

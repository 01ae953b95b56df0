//! Locks on rows of breakers.
//!
//! Claims of probes change no state, so they do not wait for the revision's row: what keeps them apart is the row of their
//! breaker. Whoever changes rows of breakers beside them locks these first, in the order of their keys, and after the
//! revision's row if it takes that one too. So no two transactions wait for each other.

use std::collections::BTreeSet;

use breaker::Key;
use sqlx::{AssertSqlSafe, FromRow};

use super::lock::Lock;
use super::server_timeline::{IS_CHECKED, unchecked};
use super::write_transaction::{Write, column};
use crate::store::StoreError;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;

/// What was locked.
pub(super) struct LockedBreakers {
    /// What time it was when all were locked.
    pub(super) now: Timestamp,
    /// The breakers that have a row.
    pub(super) keys: BTreeSet<Key>,
}

#[derive(FromRow)]
struct LockedRow {
    now: Timestamp,
    /// Counted from 1.
    numbers: Option<Vec<i64>>,
    is_holder: bool,
    is_checked: bool,
}

/// Locks the rows of these breakers. One that has no row cannot be locked, and is not among the locked ones.
pub(super) async fn lock_breakers(
    tx: &mut Write,
    lock: &Lock,
    keys: &[&Key],
) -> Result<LockedBreakers, StoreError> {
    // The clock is read by the aggregate, when it has seen the last locked row.
    let is_checked = if lock.is_shared() { IS_CHECKED } else { "true" };
    let statement = format!(
        "SELECT clock_timestamp() AS now, array_agg(number) AS numbers,
                EXISTS (SELECT FROM revision WHERE holder = $3) AS is_holder, {is_checked} AS is_checked
         FROM (
             SELECT number
             FROM breaker
             JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (service, name, number)
                 USING (service, name)
             ORDER BY breaker.service, breaker.name
             FOR NO KEY UPDATE OF breaker
         ) AS locked"
    );
    let row: LockedRow = sqlx::query_as(AssertSqlSafe(statement))
        .bind(column(keys, |key| &**key.service()))
        .bind(column(keys, |key| &**key.name()))
        .bind(lock.holder())
        .fetch_one(&mut **tx)
        .await
        .map_err(fault("lock the breakers"))?;
    if !row.is_holder {
        return Err(lock.not_named("lock the breakers"));
    }
    if !row.is_checked {
        return Err(unchecked("lock the breakers"));
    }
    let index = |number: i64| usize::try_from(number - 1).ok();
    let locked = row.numbers.into_iter().flatten().filter_map(|number| keys.get(index(number)?));
    Ok(LockedBreakers { now: row.now, keys: locked.map(|key| Key::clone(key)).collect() })
}

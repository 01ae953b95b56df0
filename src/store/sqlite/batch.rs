//! Many rows in a few statements.
//!
//! Rows that are written are bound cell by cell to `VALUES (?, ?), (?, ?) ...`: half the processor time of a JSON text that
//! `json_each` takes apart, since each `->>` goes through its row's text again. Rows that are only looked up are few and
//! narrow, and are bound as one such text, `[["a", "b"], ["c", "d"]]`.

use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::write_transaction::Write;
use crate::store::StoreError;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;

/// Rows in one statement, at most. 34 columns of them are 4,352 values, where SQLite takes 32,766; more rows gain nothing,
/// as the prepared statement grows out of the processor's cache.
const ROWS_MAX: usize = 128;

/// A value of a row.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Owned(String),
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Cell<'_> {
    fn from(is_so: bool) -> Self {
        Self::Integer(is_so.into())
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(stamp: Timestamp) -> Self {
        Self::Integer(stamp.micros())
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

impl<'a, T> From<Option<T>> for Cell<'a>
where
    Cell<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// Rows as one text, for `json_each`.
pub(super) fn rows<const N: usize>(act: &'static str, rows: &[[Cell<'_>; N]]) -> Result<String, StoreError> {
    let rows: Vec<&[Cell<'_>]> = rows.iter().map(<[Cell<'_>; N]>::as_slice).collect();
    serde_json::to_string(&rows)
        .map_err(|error| StoreError::Corrupt { act, problem: format!("a row that is no JSON: {error}") })
}

/// Where a batch goes.
pub(super) struct Into<'a, const N: usize> {
    pub(super) table: &'a str,
    pub(super) columns: [&'a str; N],
    /// What follows the rows: `ON CONFLICT ...`.
    pub(super) on_conflict: &'a str,
    /// What is being done, for when it fails.
    pub(super) act: &'static str,
}

/// Inserts rows; none: does nothing.
///
/// What fails ends the transaction (`OR ROLLBACK`), which is given up then anyway: so SQLite need not keep the pages as they
/// were before the statement, a tenth of its time.
///
/// Each statement takes a power of two of them, up to [`ROWS_MAX`]: so a table has eight statements however large its
/// batches are, and all of them stay prepared.
pub(super) async fn insert<const N: usize>(
    tx: &mut Write,
    into: Into<'_, N>,
    mut cells: &[[Cell<'_>; N]],
) -> Result<(), StoreError> {
    let Into { table, columns, on_conflict, act } = into;
    while !cells.is_empty() {
        let (rows, rest) = cells.split_at(rows_of_a_statement(cells.len()));
        cells = rest;
        let row = format!("({})", vec!["?"; N].join(", "));
        let statement = format!(
            "INSERT OR ROLLBACK INTO {table} ({}) VALUES {} {on_conflict}",
            columns.join(", "),
            vec![row; rows.len()].join(", ")
        );
        // Made of names that stand in this program.
        let query = rows.iter().flatten().fold(sqlx::query(AssertSqlSafe(statement)), bind);
        query.execute(&mut **tx).await.map_err(fault(act))?;
    }
    Ok(())
}

/// The largest power of two that is not above `left` and [`ROWS_MAX`].
fn rows_of_a_statement(left: usize) -> usize {
    1 << left.min(ROWS_MAX).ilog2()
}

fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    cell: &'q Cell<'_>,
) -> Query<'q, Sqlite, SqliteArguments> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(number) => query.bind(number),
        Cell::Real(number) => query.bind(number),
        Cell::Text(text) => query.bind(*text),
        Cell::Owned(text) => query.bind(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ROWS_MAX, rows_of_a_statement};

    #[test]
    fn batches_of_all_sizes_share_eight_statements() {
        let mut used = BTreeSet::new();
        for size in 1..=1_000 {
            let mut left = size;
            while left > 0 {
                let rows = rows_of_a_statement(left);
                assert!((1..=left.min(ROWS_MAX)).contains(&rows), "{rows} of {left}");
                used.insert(rows);
                left -= rows;
            }
        }
        assert_eq!(used.len(), 8);
    }
}

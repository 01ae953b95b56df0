//! Many rows in one statement: they are bound as one JSON text, `[[1, "a"], [2, "b"]]`, and `json_each` makes rows of it
//! again. So a batch costs a statement a table, and not one a row.

use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::write::Write;
use crate::store::StoreError;
use crate::store::fault::fault;
use crate::store::stamp::Stamp;

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

impl From<Stamp> for Cell<'_> {
    fn from(stamp: Stamp) -> Self {
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
pub(super) async fn insert<const N: usize>(
    tx: &mut Write,
    into: Into<'_, N>,
    cells: &[[Cell<'_>; N]],
) -> Result<(), StoreError> {
    if cells.is_empty() {
        return Ok(());
    }
    let Into { table, columns, on_conflict, act } = into;
    let values: Vec<_> = (0..N).map(|place| format!("value ->> {place}")).collect();
    // SQLite takes an ON after a SELECT without a WHERE for a join's.
    let statement = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM json_each($1) WHERE true {on_conflict}",
        columns.join(", "),
        values.join(", ")
    );
    // Made of names that stand in this program, the same for each batch, and so prepared once.
    sqlx::query(AssertSqlSafe(statement))
        .bind(rows(act, cells)?)
        .execute(&mut **tx)
        .await
        .map_err(fault(act))?;
    Ok(())
}

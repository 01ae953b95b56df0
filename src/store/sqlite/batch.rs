//! Many rows in a few statements.
//!
//! Rows that are written are bound cell by cell to `VALUES (?, ?), (?, ?) ...`: half the processor time of a JSON text that
//! `json_each` takes apart, since each `->>` goes through its row's text again. Rows that are only looked up are few and
//! narrow, and are bound as one such text, `[["a", "b"], ["c", "d"]]`.

use serde::Serialize;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe};

use super::write_transaction::Write;
use crate::store::StoreError;
use crate::store::cell::{Cell, Column};
use crate::store::sqlx_error::fault;

/// Rows in one statement, at most. 35 columns of them are 4,480 values, where SQLite takes 32,766; more rows gain nothing,
/// as the prepared statement grows out of the processor's cache.
const ROWS_MAX: usize = 128;

/// Rows as one text, for `json_each`.
pub(super) fn rows<R: Serialize>(act: &'static str, rows: &[R]) -> Result<String, StoreError> {
    serde_json::to_string(rows)
        .map_err(|error| StoreError::Corrupt { act, problem: format!("a row that is no JSON: {error}") })
}

/// Where a batch goes.
pub(super) struct Into<'a> {
    pub(super) table: &'a str,
    pub(super) columns: Vec<String>,
    /// What follows the rows: `ON CONFLICT ...`.
    pub(super) on_conflict: &'a str,
    /// What is being done, for when it fails.
    pub(super) act: &'static str,
}

/// The columns of a row that both stores have, as SQLite names them, and those that only it has.
pub(super) fn columns(shared: &[Column], own: &[&str]) -> Vec<String> {
    shared.iter().copied().map(Column::on_sqlite).chain(own.iter().map(|name| (*name).to_owned())).collect()
}

/// The values of a statement's rows.
pub(super) struct Values {
    arguments: SqliteArguments,
    act: &'static str,
}

impl Values {
    fn push(&mut self, cell: Cell<'_>) -> Result<(), StoreError> {
        let pushed = match cell {
            Cell::Null => self.arguments.add(None::<i64>),
            Cell::Bool(is_so) => self.arguments.add(is_so),
            Cell::Integer(number) => self.arguments.add(number),
            Cell::Real(number) => self.arguments.add(number),
            Cell::Time(stamp) => self.arguments.add(stamp.micros()),
            Cell::Text(text) => self.arguments.add(text),
            Cell::Owned(text) => self.arguments.add(text),
        };
        pushed.map_err(|error| StoreError::Corrupt { act: self.act, problem: error.to_string() })
    }

    /// Adds a row, in the order of the columns.
    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> Result<(), StoreError> {
        cells.into_iter().try_for_each(|cell| self.push(cell))
    }
}

/// Inserts `count` rows, which `fill` gives the values of, by number; none: does nothing.
///
/// What fails ends the transaction (`OR ROLLBACK`), which is given up then anyway: so SQLite need not keep the pages as they
/// were before the statement, a tenth of its time.
///
/// Each statement takes a power of two of them, up to [`ROWS_MAX`]: so a table has eight statements however large its
/// batches are, and all of them stay prepared. SQLite runs on a thread of its own: while it has one statement, this one
/// gets the values of the next together.
pub(super) async fn insert(
    tx: &mut Write,
    into: Into<'_>,
    count: usize,
    fill: impl Fn(usize, &mut Values) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Into { table, columns, on_conflict, act } = into;
    let prepare = |first: usize| -> Result<Option<(usize, Values)>, StoreError> {
        if first == count {
            return Ok(None);
        }
        let rows = rows_of_a_statement(count - first);
        let mut values = Values { arguments: SqliteArguments::default(), act };
        values.arguments.reserve(rows * columns.len(), 0);
        (first..first + rows).try_for_each(|number| fill(number, &mut values))?;
        Ok(Some((rows, values)))
    };
    let columns_listed = columns.join(", ");
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let mut written = 0;
    let mut next = prepare(0)?;
    while let Some((rows, values)) = next {
        written += rows;
        let statement = format!(
            "INSERT OR ROLLBACK INTO {table} ({columns_listed}) VALUES {} {on_conflict}",
            vec![row.as_str(); rows].join(", ")
        );
        // Made of names that stand in this program.
        let query = sqlx::query_with(AssertSqlSafe(statement), values.arguments);
        let (done, prepared) = tokio::join!(biased; query.execute(&mut **tx), async { prepare(written) });
        done.map_err(fault(act))?;
        next = prepared?;
    }
    Ok(())
}

/// The largest power of two that is not above `left` and [`ROWS_MAX`].
fn rows_of_a_statement(left: usize) -> usize {
    1 << left.min(ROWS_MAX).ilog2()
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

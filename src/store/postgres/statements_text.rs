//! Statements that are sent in one message, with their values written out: the simple query protocol takes many statements, and no
//! parameters.
//!
//! What a small batch writes goes with the bump of the revision and the commit, so that no other replica waits for as many
//! round trips as there are tables ([ADR 44](../../../docs/adr/0044-what-a-batch-writes-is-one-message.md)). A large one is copied:
//! text is slow to parse.

use std::fmt::Write as _;

use crate::store::cell::{Cell, Column};
use crate::store::columns::printable;
use crate::store::history::Bumped;

/// Rows that a batch may change, or add to the history, to be written as text.
pub(super) const ROWS_MAX: usize = 64;

/// Statements, one after the other.
#[derive(Debug, Default)]
pub(super) struct StatementsText {
    text: String,
}

impl StatementsText {
    /// All of them; none: there is nothing to do.
    pub(super) fn take(&mut self) -> Option<String> {
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some(text)
    }

    /// New rows. `ending` is what comes behind the values.
    pub(super) fn insert<const N: usize>(
        &mut self,
        table: &str,
        columns: &[Column; N],
        rows: &[[Cell<'_>; N]],
        ending: &str,
    ) {
        if rows.is_empty() {
            return;
        }
        let columns = columns.map(Column::on_postgres).join(", ");
        self.begin();
        let _ = write!(self.text, "INSERT INTO {table} ({columns}) VALUES ");
        for (number, row) in rows.iter().enumerate() {
            self.text.push_str(if number == 0 { "(" } else { ", (" });
            for (number, cell) in row.iter().enumerate() {
                self.text.push_str(if number == 0 { "" } else { ", " });
                self.value(cell);
            }
            self.text.push(')');
        }
        self.text.push_str(ending);
    }

    /// Other values for a row of `breaker`, which is named by the first two. The first probe is forgotten with its epoch.
    pub(super) fn update_breaker<const N: usize>(&mut self, columns: &[Column; N], row: &[Cell<'_>; N]) {
        self.begin();
        self.text.push_str("UPDATE breaker SET ");
        for (column, cell) in columns.iter().zip(row).skip(2) {
            let column = column.on_postgres();
            if column == "epoch" {
                self.text.push_str("first_probe_at = CASE WHEN epoch = ");
                self.value(cell);
                self.text.push_str(" THEN first_probe_at END, ");
            }
            let _ = write!(self.text, "{column} = ");
            self.value(cell);
            self.text.push_str(", ");
        }
        self.text.truncate(self.text.len() - ", ".len());
        for (place, (column, cell)) in columns.iter().zip(row).take(2).enumerate() {
            let _ = write!(
                self.text,
                " {} {} = ",
                if place == 0 { "WHERE" } else { "AND" },
                column.on_postgres()
            );
            self.value(cell);
        }
    }

    /// The next revision, its nonce for those who follow, and a hint to them. Nobody else has bumped it: its row is locked.
    pub(super) fn bump(&mut self, bumped: Bumped) {
        self.begin();
        let _ = write!(self.text, "UPDATE revision SET n = {}", bumped.revision);
        let columns = ["rev", "nonce", "recorded_at"].map(Column::Plain);
        let change = [bumped.revision.into(), bumped.nonce.into(), bumped.recorded_at.into()];
        self.insert("change", &columns, &[change], "");
        self.begin();
        let _ = write!(self.text, "SELECT pg_notify('breakerd', '{}')", bumped.revision);
    }

    fn begin(&mut self) {
        if !self.text.is_empty() {
            self.text.push_str(";\n");
        }
    }

    fn value(&mut self, cell: &Cell<'_>) {
        let text = &mut self.text;
        let _ = match cell {
            Cell::Null => write!(text, "NULL"),
            Cell::Bool(is_so) => write!(text, "{is_so}"),
            Cell::Integer(number) => write!(text, "'{number}'"),
            Cell::Real(number) => write!(text, "'{number}'"),
            Cell::Time(stamp) => match stamp.micros() {
                i64::MAX => write!(text, "'infinity'"),
                // Exact until the year 2255, as the factor is a double.
                micros => write!(text, "'epoch'::timestamptz + {micros} * interval '1 microsecond'"),
            },
            Cell::Text(value) => {
                quote(text, value);
                Ok(())
            }
            Cell::Owned(value) => {
                quote(text, value);
                Ok(())
            }
        };
    }
}

/// A text as a literal, which means the same whatever `standard_conforming_strings` says. A NUL would end the message.
fn quote(into: &mut String, value: &str) {
    into.push_str("E'");
    for character in printable(value).chars() {
        if matches!(character, '\'' | '\\') {
            into.push(character);
        }
        into.push(character);
    }
    into.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cells: [Cell<'_>; 2]) -> String {
        let mut statements = StatementsText::default();
        statements.insert("t", &[Column::Plain("a"), Column::Time("b")], &[cells], "");
        statements.take().unwrap()
    }

    #[test]
    fn no_value_ends_its_literal() {
        assert_eq!(
            text(["'; DROP TABLE t; --".into(), "\\'".into()]),
            r"INSERT INTO t (a, b) VALUES (E'''; DROP TABLE t; --', E'\\''')"
        );
        assert_eq!(text(["a\0b".into(), true.into()]), "INSERT INTO t (a, b) VALUES (E'a\u{fffd}b', true)");
        assert_eq!(text([Cell::Null, (-5_i64).into()]), "INSERT INTO t (a, b) VALUES (NULL, '-5')");
    }

    #[test]
    fn a_row_is_named_by_its_first_two_columns() {
        let mut statements = StatementsText::default();
        let columns = ["service", "name", "epoch", "state"].map(Column::Plain);
        statements.update_breaker(&columns, &["s".into(), "n".into(), 7.into(), "OPEN".into()]);
        assert_eq!(
            statements.take().unwrap(),
            "UPDATE breaker SET first_probe_at = CASE WHEN epoch = '7' THEN first_probe_at END, epoch = '7', \
             state = E'OPEN' WHERE service = E's' AND name = E'n'"
        );
        assert_eq!(statements.take(), None);
    }
}

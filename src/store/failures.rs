//! Failures that no retry mends: of a row, and of the tables.

use super::StoreError;

/// A row holds what it should not.
pub(super) fn corrupt(act: &'static str, source: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { act, problem: source.to_string() }
}

/// No fault of a row: whoever has something to write waits with it, until somebody has seen to the database. While a
/// backup is restored, its tables are not there for a moment.
pub(super) fn not_as_made(act: &'static str, source: &sqlx::Error) -> StoreError {
    StoreError::Refused(format!(
        "{act}: {source}; a table was dropped or changed under breakerd: restore the database from a backup"
    ))
}

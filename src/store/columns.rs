//! Values of columns, in the form that they have in the database, and checked on their way back.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use super::StoreError;

/// Reads one row, and names it when it is wrong.
pub(super) struct Reader<'a> {
    pub(super) act: &'static str,
    /// Which row, for people.
    pub(super) row: &'a str,
}

impl Reader<'_> {
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &str, value: i64) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.wrong(column, value))
    }

    pub(super) fn duration(&self, column: &str, micros: i64) -> Result<Duration, StoreError> {
        self.number(column, micros).map(Duration::from_micros)
    }

    pub(super) fn word<T>(
        &self,
        column: &str,
        text: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(text).ok_or_else(|| self.wrong(column, text))
    }

    pub(super) fn set<T>(&self, column: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.wrong(column, "empty"))
    }

    pub(super) fn wrong(&self, column: &str, value: impl Display) -> StoreError {
        self.says(format_args!("{column} cannot be {value}"))
    }

    pub(super) fn says(&self, problem: impl Display) -> StoreError {
        StoreError::Corrupt { act: self.act, problem: format!("{}: {problem}", self.row) }
    }
}

/// An unsigned number as the databases keep it; beyond 2^63 there is none.
pub(super) fn bigint(act: &'static str, column: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt {
        act,
        problem: format!("{column} cannot be {value}: it is too large"),
    })
}

/// A duration in whole microseconds, which is what waits are counted in; 292 thousand years is the most.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Postgres takes no NUL in a text, and one in somebody's words must not keep a batch from being written.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// A random number as it stands in logs and tables.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// Reads what [`hex`] writes.
pub(super) fn unhex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>(act: &'static str) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(StoreError::unavailable(act, error)),
    }
}

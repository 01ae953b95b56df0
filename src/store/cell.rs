//! Rows that are written, as both stores take them: the names of their columns, and their values.

use super::timestamp::Timestamp;

/// A column of a table that both stores have.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Plain(&'static str),
    /// A time: SQLite keeps it as a number, and names its unit.
    Time(&'static str),
}

impl Column {
    pub(super) fn on_postgres(self) -> &'static str {
        match self {
            Self::Plain(name) | Self::Time(name) => name,
        }
    }

    pub(super) fn on_sqlite(self) -> String {
        match self {
            Self::Plain(name) => name.to_owned(),
            Self::Time(name) => format!("{name}_us"),
        }
    }
}

/// A value of a row.
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Time(Timestamp),
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
        Self::Bool(is_so)
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(stamp: Timestamp) -> Self {
        Self::Time(stamp)
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

//! The errors of a configuration, with their locations.
//!
//! An error names the location (file, line and column, or the variable, or the flag), the key, its value and
//! the valid values, so that it can be fixed without opening the documentation.

use std::fmt;
use std::sync::Arc;

/// One error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where.
    pub location: SourceLocation,
    /// What.
    pub fault: Fault,
}

/// Where something was set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLocation {
    /// In the file; without a position when all of it is meant.
    File {
        /// Its path, as it was given.
        path: Arc<str>,
        /// Line and column.
        at: Option<Position>,
    },
    /// By a variable of the environment.
    Variable(&'static str),
    /// By a flag of the command line; without its dashes.
    Flag(&'static str),
}

/// A position in a text. Both count from 1; a column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The file cannot be read.
    Unreadable(String),
    /// It has more bytes than this.
    TooLarge {
        /// The most it may have.
        bytes_max: u64,
    },
    /// It is no TOML: the parser's message.
    Syntax(String),
    /// A key, or a table, that there is not.
    Unknown {
        /// The table that it is in; empty: the top of the file.
        table: String,
        /// Its name.
        key: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A value of the wrong type, or out of its range.
    Value {
        /// The key, with its table.
        key: String,
        /// What it was given, as written.
        value: String,
        /// What it takes.
        expected: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Two names of one setting in one table.
    Twice {
        /// The table.
        table: String,
        /// The name that is first in the file.
        first: String,
        /// Its line.
        first_line: usize,
        /// The other name.
        second: String,
    },
    /// A name that no service can have.
    Service {
        /// The table of the services.
        table: String,
        /// Why.
        problem: String,
    },
    /// Values that are each valid, and conflict.
    Conflict {
        /// The service's table, or that of the defaults; or the setting.
        key: String,
        /// What is at odds.
        problem: String,
    },
    /// Wrong things beyond the first, not listed.
    More {
        /// How many.
        count: usize,
    },
}

impl Error {
    /// Whether the error is on the command line, rather than in the file or a variable.
    pub fn is_usage(&self) -> bool {
        matches!(self.location, SourceLocation::Flag(_))
    }
}

impl SourceLocation {
    /// The line, when it is in the file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { at, .. } => at.map(|position| position.line),
            Self::Variable(_) | Self::Flag(_) => None,
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: Some(Position { line, column }) } => write!(f, "{path}:{line}:{column}"),
            Self::File { path, at: None } => f.write_str(path),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match &self.fault {
            Fault::Unreadable(why) => write!(f, "{location}: cannot be read: {why}"),
            Fault::TooLarge { bytes_max } => write!(f, "{location}: has more than {bytes_max} bytes"),
            Fault::Syntax(said) => write!(f, "{location}: not TOML: {said}"),
            Fault::Unknown { table, key, hint } => {
                let in_table = if table.is_empty() { String::new() } else { format!("{table}: ") };
                write!(f, "{location}: {in_table}unknown key `{key}`")?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, ": {hint}"))
            }
            Fault::Value { key, value, expected, hint } => {
                match location {
                    SourceLocation::File { .. } => {
                        write!(f, "{location}: {key}: invalid value {value}: must be {expected}")?;
                    }
                    SourceLocation::Variable(_) | SourceLocation::Flag(_) => {
                        write!(f, "{location}: invalid value {value}: must be {expected}")?;
                    }
                }
                hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Fault::Twice { table, first, first_line, second } => write!(
                f,
                "{location}: {table}: `{second}` is another name of `{first}`, which line {first_line} sets already"
            ),
            Fault::Service { table, problem } => write!(f, "{location}: {table}: {problem}"),
            Fault::Conflict { key, problem } => write!(f, "{location}: {key}: {problem}"),
            Fault::More { count } => write!(f, "{location}: and {count} more"),
        }
    }
}

impl std::error::Error for Error {}

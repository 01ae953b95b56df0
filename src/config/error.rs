//! What is wrong with a configuration, and where.
//!
//! An error names the place (file, line and column, or the variable, or the flag), the key, what it was given and
//! what it takes, so that it can be mended without opening the documentation.

use std::fmt;
use std::sync::Arc;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where.
    pub place: SourceLocation,
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

/// A place in a text. Both count from 1; a column counts characters.
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
    /// It is no TOML: what the parser said.
    Syntax(String),
    /// A key, or a table, that there is not.
    Unknown {
        /// The table it stands in; empty: the top of the file.
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
        takes: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Two names of one setting in one table.
    Twice {
        /// The table.
        table: String,
        /// The name that stands first in the file.
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
    /// Values that are each right, and cannot stand together.
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
    /// Whether the command line was wrong, rather than the file or a variable.
    pub fn is_usage(&self) -> bool {
        matches!(self.place, SourceLocation::Flag(_))
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
        let place = &self.place;
        match &self.fault {
            Fault::Unreadable(why) => write!(f, "{place}: cannot be read: {why}"),
            Fault::TooLarge { bytes_max } => write!(f, "{place}: has more than {bytes_max} bytes"),
            Fault::Syntax(said) => write!(f, "{place}: not TOML: {said}"),
            Fault::Unknown { table, key, hint } => {
                let in_table = if table.is_empty() { String::new() } else { format!("{table}: ") };
                write!(f, "{place}: {in_table}unknown key `{key}`")?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, ": {hint}"))
            }
            Fault::Value { key, value, takes, hint } => {
                match place {
                    SourceLocation::File { .. } => {
                        write!(f, "{place}: {key}: invalid value {value}: must be {takes}")?;
                    }
                    SourceLocation::Variable(_) | SourceLocation::Flag(_) => {
                        write!(f, "{place}: invalid value {value}: must be {takes}")?;
                    }
                }
                hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Fault::Twice { table, first, first_line, second } => write!(
                f,
                "{place}: {table}: `{second}` is another name of `{first}`, which line {first_line} sets already"
            ),
            Fault::Service { table, problem } => write!(f, "{place}: {table}: {problem}"),
            Fault::Conflict { key, problem } => write!(f, "{place}: {key}: {problem}"),
            Fault::More { count } => write!(f, "{place}: and {count} more"),
        }
    }
}

impl std::error::Error for Error {}

//! Why a store did not answer, in words that hold for every store.

use std::error::Error;

/// Why a store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed, or cannot be reached; it may answer later.
    #[error("{act}: {problem}")]
    Unavailable {
        /// What was being done.
        act: &'static str,
        /// What is wrong, for people: `store unavailable`, or what is known beyond that.
        problem: &'static str,
        /// Why it failed, in the words of the database or its driver.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row says what no row can say; it will not answer later either.
    #[error("{act}: {problem}")]
    Corrupt {
        /// What was being done.
        act: &'static str,
        /// What the row says.
        problem: String,
    },
    /// A newer release has changed the tables so that this one must not write to them. What it has to write waits for the
    /// release that comes in its place.
    #[error("{0}")]
    NewerSchema(String),
    /// Another process has the store.
    #[error("{0}")]
    LockedByAnother(String),
    /// The store's file was deleted or replaced under this process: nothing that it is given can be found again, until
    /// the very same file is back.
    #[error("{0}")]
    Replaced(String),
    /// The store cannot be opened as it is set, and trying again will not help.
    #[error("{0}")]
    Refused(String),
}

impl StoreError {
    /// The store did not answer; whether it is away or busy is not known. `source` says why.
    pub fn unavailable(act: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { act, problem: "store unavailable", source: source.into() }
    }

    /// Whether trying again may help: this process, or the one that comes after it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::NewerSchema(_))
    }
}

//! stub
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
/// How the journal stands.
pub struct JournalStats {
    /// Entries that the store does not have yet.
    pub depth: u64,
    /// Age of the oldest of them.
    pub lag: std::time::Duration,
    /// Entries dropped since the start because the journal was full.
    pub dropped: u64,
    /// Writes to the file that failed since the start.
    pub write_errors: u64,
    /// Entries written since the start.
    pub appended: u64,
}

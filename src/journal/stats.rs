//! How a journal stands, for metrics and for health.

use std::time::Duration;

use super::tail::WriteTimes;

/// The state of the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Entries that the store does not have yet.
    pub depth: u64,
    /// Bytes of them.
    pub depth_bytes: u64,
    /// Age of the oldest of them.
    pub lag: Duration,
    /// Bytes on disk, those included that the store has acknowledged.
    pub bytes: u64,
    /// The most that the journal may have there, in bytes: `journal.bytes_max`.
    pub bytes_max: u64,
    /// Entries that are in memory only, because the file cannot be written.
    pub in_memory: u64,
    /// The file could not be written when it was last tried.
    pub write_failing: bool,
    /// The store did not take the last batch it was given.
    pub store_failing: bool,
    /// Transitions since the start that the history will not have.
    pub dropped: u64,
    /// Writes to the file that failed since the start.
    pub write_errors: u64,
    /// Entries taken down since the start.
    pub appended: u64,
    /// How long writes to the file took.
    pub write_times: WriteTimes,
}

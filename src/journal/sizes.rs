//! What a journal is opened with, and how large its parts may become.

use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::Clock;

/// Entries in one batch for the store: enough that a thousand breakers opening at once are one transaction.
const BATCH_ENTRIES_MAX: usize = 1_000;
/// And bytes of them, as the file has them.
const BATCH_BYTES_MAX: u64 = 1024 * 1024;
/// The most bytes of a segment: what is acknowledged or merged goes in pieces of this size.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Entries that cannot be written to a file, in memory, before those of one breaker are merged.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Room that is reserved for each breaker, for a full disk: a record with names of some length. (Longer ones are rare.)
const RECORD_BYTES: u64 = 512;
/// How long segments stay that the store has acknowledged.
pub(crate) const ACKNOWLEDGED_KEPT: Duration = Duration::from_mins(10);

/// What a journal is opened with.
#[derive(Clone)]
pub struct JournalOptions {
    /// The name of this replica, in the ids of its transitions.
    pub replica: Arc<str>,
    /// Random for each life of the process.
    pub boot: u64,
    /// The most bytes on disk, beside one record of each breaker. At least 1.
    pub bytes_max: u64,
    /// The most breakers: room for a record of each is reserved on disk, twice.
    pub breakers_max: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Limits and times; tests choose others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) bytes_max: u64,
    pub(super) segment_bytes: u64,
    pub(super) batch_entries: usize,
    pub(super) batch_bytes: u64,
    pub(super) memory_bytes_max: u64,
    pub(super) room_bytes: u64,
    pub(super) acknowledged_kept: Duration,
}

impl Sizes {
    pub(super) fn of(options: &JournalOptions) -> Self {
        Self {
            bytes_max: options.bytes_max,
            segment_bytes: (options.bytes_max / 16).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            batch_entries: BATCH_ENTRIES_MAX,
            batch_bytes: BATCH_BYTES_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
            room_bytes: options.breakers_max as u64 * RECORD_BYTES,
            acknowledged_kept: ACKNOWLEDGED_KEPT,
        }
    }
}

//! How the wall clock stands beside the monotonic one, as the engine was told last.

use breaker::{Time, WallOffset};

use super::sync::{AtomicU64, Mutex, Ordering};

/// The wall clock beside the monotonic one.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The bits of the offset: read at every call, written when the clock was set.
    pub(super) offset: AtomicU64,
    /// The offset, and since when.
    pub(super) set: Mutex<(WallOffset, Time)>,
}

impl WallClock {
    pub(super) fn offset(&self) -> WallOffset {
        WallOffset::from_micros(self.offset.load(Ordering::Relaxed).cast_signed())
    }
}

//! How the wall clock stands beside the monotonic one, as the engine was told last.

use std::time::Duration;

use breaker::{Time, WallOffset};

use super::sync::{AtomicU64, Mutex, Ordering};

/// A difference below this is no clock that was set: the two clocks are read one after the other, by a thread that may be
/// interrupted. What is shown is exact to so much.
const STEP_MIN: Duration = Duration::from_millis(50);

/// The wall clock beside the monotonic one.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The bits of the offset: read at every call, written when the clock was set.
    offset: AtomicU64,
    /// The offset, and since when.
    set: Mutex<(WallOffset, Time)>,
}

impl WallClock {
    pub(super) fn offset(&self) -> WallOffset {
        WallOffset::from_micros(self.offset.load(Ordering::Relaxed).cast_signed())
    }

    /// The offset, and since when.
    pub(super) fn set(&self) -> (WallOffset, Time) {
        *self.set.lock()
    }

    /// See [`super::Engine::note_wall_offset`].
    pub(super) fn note(&self, measured: WallOffset, now: Time) -> Option<i64> {
        let mut set = self.set.lock();
        let step = measured.as_micros().saturating_sub(set.0.as_micros());
        if Duration::from_micros(step.unsigned_abs()) < STEP_MIN {
            return None;
        }
        *set = (measured, now);
        self.offset.store(measured.as_micros().cast_unsigned(), Ordering::Relaxed);
        Some(step)
    }
}

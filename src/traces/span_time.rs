//! The times of spans: those of the wall clock.

use std::time::SystemTime;

use breaker::{Time, WallOffset};

/// The wall clock's time at `at` of the monotonic clock.
pub(super) fn system_time(offset: WallOffset, at: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + offset.to_wall(at).since(Time::ZERO)
}
